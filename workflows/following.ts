/** Following in one run: as long as people are waited for, and with a pause where the run has to stop. */
import * as wf from '@temporalio/workflow';
import type { Operation } from './operation.ts';

/** A pump is long; it ends early where the run is paused or has to yield. Either end is a clean one: no call of it is lost. */
export async function untilGateCloses<T>(
  op: Operation,
  act: () => Promise<T>,
): Promise<T | 'gate closed' | 'told to end'> {
  const scope = new wf.CancellationScope();
  // By the time that it has ended the gate may be open again.
  let closed = false;
  try {
    return await scope.run(async () => {
      const closing = wf
        .condition(() => op.gate.isClosed)
        .then(() => {
          closed = true;
          scope.cancel();
        });
      closing.catch(() => {}); // cancelled together with the scope
      return act();
    });
  } catch (error) {
    if (wf.isCancellation(error)) return closed ? 'gate closed' : 'told to end';
    throw error;
  } finally {
    scope.cancel();
  }
}

/** What takes long stops where the run has to stop, and is done again once it goes on: all of it may be repeated. */
export async function atSafePoints<T>(op: Operation, service: string, act: (again: boolean) => Promise<T>): Promise<T> {
  for (let again = false; ; again = true) {
    const done = await op.held(service, () => untilGateCloses(op, () => act(again)));
    if (done === 'told to end') throw new wf.CancelledFailure('it is not to go on');
    if (done !== 'gate closed') return done;
  }
}

/**
 * Follows as long as `ask` waits for people. Where following has to ask something itself, about what it has ended with, that
 * goes first; answers that were given stay.
 */
export async function whileFollowing<T, H>(
  ask: () => Promise<T>,
  follow: () => Promise<H | undefined>,
  askAbout: (held: H) => Promise<void>,
): Promise<T> {
  for (;;) {
    const asking = new wf.CancellationScope();
    const pumping = new wf.CancellationScope();
    const [answer, pump] = await Promise.allSettled([
      asking.run(ask).finally(() => pumping.cancel()),
      pumping.run(() => follow()).finally(() => asking.cancel()),
    ]);
    if (pump.status === 'rejected' && !wf.isCancellation(pump.reason)) throw pump.reason;
    if (answer.status === 'fulfilled') return answer.value;
    if (pump.status === 'rejected' || !pump.value) throw answer.reason;
    await askAbout(pump.value);
  }
}
