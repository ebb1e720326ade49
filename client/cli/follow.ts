/** Follows a run to its end, or to where a person is needed. Ctrl-C detaches and leaves it running. */
import { setTimeout as sleep } from 'node:timers/promises';
import { waitingText } from '../../model/decisions.ts';
import type { OperationResult } from '../../model/operations.ts';
import { printable } from '../../model/text.ts';
import { OperationFailed, type OperationHandle } from '../operation-handle.ts';
import { eventsBetween, plainLine, type RunEvent } from './events.ts';
import { Exit, exitCodes, failed } from './exit.ts';
import { print, printEvent, printJson, type Session } from './session.ts';
import { resultText } from './tables.ts';
import { fullTree, renderTree } from './tree.ts';
import { type View, Viewer } from './view.ts';

export interface FollowOptions {
  /** Stay when the run waits for a person or is blocked. */
  wait?: boolean | undefined;
}

/** How often a run is looked at. Its end is noticed at once. */
const lookMs = 400;
const frameMs = 100;
/** A run that nobody works on answers no query; after this long that is said. */
const silenceMs = 8000;

/** How a command that has started a run ends: it leaves at once, or follows the run and tells its result. */
export async function leaveOrFollow(
  session: Session,
  handle: OperationHandle,
  {
    detach,
    text = resultText,
    ...options
  }: FollowOptions & { detach?: boolean | undefined; text?: (result: OperationResult) => string },
): Promise<void> {
  if (detach) {
    if (session.json) printJson({ workflowId: handle.workflowId });
    else print(`Started ${handle.workflowId}\n  follow: npx multi-cloud watch ${handle.workflowId}`);
    return;
  }
  const result = await follow(session, handle, options);
  if (session.json) printEvent({ event: 'result', ...result });
  else print(text(result));
}

/** The result; a failure, or a reason to leave before the end, as the exit code that says so. */
export async function follow(
  session: Session,
  handle: OperationHandle,
  options: FollowOptions = {},
): Promise<OperationResult> {
  const started = Date.now();
  const screen = await screenFor(session, started);
  const viewer = new Viewer(handle, (id) => session.estate.handle(id));
  let view: View | undefined;
  let interrupted = false;
  const interrupt = () => {
    interrupted = true;
  };
  process.once('SIGINT', interrupt);
  const end = handle.result().then(
    (result) => ({ result }),
    (error: unknown) => ({ error }),
  );
  let outcome: Awaited<typeof end> | undefined;
  let warned = false;
  try {
    for (;;) {
      // While no worker serves the queue, queries have no answer; the run's end does not depend on them.
      const seen = await Promise.race([viewer.look().catch(() => undefined), end.then(() => undefined)]);
      if (seen) {
        for (const event of eventsBetween(view, seen)) screen.event(event);
        view = seen;
      }
      screen.frame(view);
      if (outcome || interrupted) break;
      if (!view && !warned && Date.now() - started > silenceMs) {
        warned = true;
        process.stderr.write('No worker has answered yet; the run goes on as soon as one does.\n');
      }
      if (view && !options.wait && isHeld(view)) break;
      outcome = await rest(end, () => interrupted || screen.frame(view));
    }
    // What happened after the last look belongs into the picture.
    if (outcome) {
      const seen = await Promise.race([viewer.look().catch(() => undefined), sleep(3000, undefined)]);
      for (const event of seen ? eventsBetween(view, seen) : []) screen.event(event);
      view = seen ?? view;
    }
  } finally {
    process.off('SIGINT', interrupt);
    screen.end(view);
  }
  if (!outcome) throw leaving(handle, view, interrupted);
  if ('result' in outcome) return outcome.result;
  if (!(outcome.error instanceof OperationFailed)) throw outcome.error;
  throw failed(outcome.error, view?.steps.some(({ status }) => status === 'undone') ?? false);
}

/** Waits for the next look or for the end, drawing on; `draw` may cut it short. */
async function rest<T>(end: Promise<T>, draw: () => unknown): Promise<T | undefined> {
  for (let waited = 0; waited < lookMs; waited += frameMs) {
    const ended = await Promise.race([end, sleep(frameMs, undefined)]);
    if (ended !== undefined) return ended;
    if (draw() === true) return undefined;
  }
  return undefined;
}

const isHeld = ({ waiting, blocked }: View): boolean => waiting.length > 0 || blocked.length > 0;

interface Screen {
  event(event: RunEvent): void;
  frame(view: View | undefined): void;
  end(view: View | undefined): void;
}

/** The three ways to show a run: one JSON line an event, a live tree, plain lines. */
async function screenFor({ json }: Session, started: number): Promise<Screen> {
  const nothing = () => {};
  if (json) return { event: printEvent, frame: nothing, end: nothing };
  if (!process.stdout.isTTY)
    return { event: (event) => print(plainLine(event, Date.now() - started)), frame: nothing, end: nothing };
  // Only a terminal needs it, and it takes a while to load.
  const { createLogUpdate } = await import('log-update');
  const update = createLogUpdate(process.stdout);
  const window = () => ({ columns: process.stdout.columns, rows: process.stdout.rows, now: Date.now() });
  return {
    event: nothing,
    frame: (view) => view && update(renderTree(view, window()).join('\n')),
    end: (view) => {
      update.clear();
      update.done();
      if (view) for (const line of fullTree(view, window())) print(line);
    },
  };
}

/** The run goes on without us: how to come back to it, and what it needs. */
function leaving(handle: OperationHandle, view: View | undefined, interrupted: boolean): Exit {
  const { workflowId } = handle;
  const { waiting = [], blocked = [] } = view ?? {};
  const again = [`  follow: npx multi-cloud watch ${workflowId}`, `  cancel: npx multi-cloud cancel ${workflowId}`];
  const details = { workflowId, waitingFor: waiting, blocked };
  if (interrupted)
    return new Exit(exitCodes.done, ['Detached; the run goes on.', ...again].join('\n'), 'Detached', details);
  if (waiting.length > 0)
    return new Exit(
      exitCodes.waiting,
      [
        ...waiting.flatMap(({ workflowId: asks, ...one }) => [
          `Waits for a person: ${printable(one.text)}`,
          `  ${printable(waitingText(one, new Date().toISOString()))}`,
          `  approve: npx multi-cloud approve ${asks}`,
          `  reject:  npx multi-cloud reject ${asks}`,
        ]),
        ...again,
      ].join('\n'),
      'Waiting',
      details,
    );
  return new Exit(
    exitCodes.blocked,
    [
      ...blocked.flatMap(({ text, parked, workflowId: held }) =>
        parked
          ? [
              `Parked: ${printable(text)}`,
              `  try again: npx multi-cloud retry ${held} --compensation`,
              `  give up:   npx multi-cloud abandon ${held}`,
            ]
          : [`Blocked: ${printable(text)}`],
      ),
      ...(blocked.every(({ parked }) => parked)
        ? []
        : [
            'It goes on by itself once that is repaired.',
            `  look at once: npx multi-cloud retry ${workflowId}`,
            `  take it back: npx multi-cloud undo ${workflowId}`,
          ]),
      ...again,
    ].join('\n'),
    'Blocked',
    details,
  );
}
