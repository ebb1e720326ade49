import fc from 'fast-check';
import { ask, judge, type Lock, mayPreempt } from '../../model/lock.ts';
import { type Holder, type OperationKind, operationKinds } from '../../model/record.ts';

const run = (operation: OperationKind, id = operation as string, planHash = ''): Holder => ({
  workflowId: `w-${id}`,
  runId: `r-${id}`,
  operation,
  planHash,
});

describe('who may work on a service', () => {
  const pairs = operationKinds.flatMap((asker) => operationKinds.map((holder) => [asker, holder] as const));
  const preempting = ['failover deploy', 'failover migrate', 'failover repair', 'failover steer'];

  it.each(pairs)('%s asks while %s holds', (asker, holder) => {
    const may = preempting.includes(`${asker} ${holder}`);
    expect(mayPreempt(asker, holder)).toBe(may);
    expect(judge(run(holder, 'holder'), run(asker, 'asker'))).toBe(may ? 'yield' : 'refuse');
  });

  it('attaches who asks for the very same thing, and nobody else', () => {
    expect(judge(run('deploy', 'a', 'hash'), run('deploy', 'b', 'hash'))).toBe('attach');
    expect(judge(run('deploy', 'a', 'hash'), run('deploy', 'b', 'other'))).toBe('refuse');
    expect(judge(run('deploy', 'a', 'hash'), run('remove', 'b', 'hash'))).toBe('refuse');
    expect(judge(run('deploy', 'a'), run('deploy', 'b'))).toBe('refuse');
  });

  it('lets nobody in between a holder that yields and the run that it yields to', () => {
    const deploy = run('deploy');
    const failover = run('failover');
    const told = ask({ holder: deploy }, failover, []);
    expect(told).toMatchObject({ verdict: 'yield', refused: deploy, lock: { holder: deploy, next: failover } });
    const lent = { next: told.lock.next };
    expect(ask(lent, run('remove'), [])).toMatchObject({ verdict: 'refuse', refused: failover });
    expect(ask(lent, deploy, [])).toMatchObject({ verdict: 'refuse', refused: failover });
    expect(ask(lent, failover, []).lock).toEqual({ holder: failover, next: undefined });
    expect(ask(lent, deploy, [failover.runId]).lock.holder).toEqual(deploy);
  });

  it('is never two runs at once, and never refused because of a run that has ended', () => {
    const step = fc.record({
      who: fc.constantFrom(...operationKinds.map((kind) => run(kind))),
      what: fc.constantFrom('ask', 'release', 'die'),
    });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
        let lock: Lock = {};
        const dead = new Set<string>();
        for (const { who, what } of steps) {
          if (what === 'die') dead.add(who.runId);
          if (dead.has(who.runId)) continue;
          if (what === 'release' && lock.holder?.runId === who.runId) lock = { ...lock, holder: undefined };
          if (what !== 'ask') continue;
          const living = lock.holder && !dead.has(lock.holder.runId) ? lock.holder : undefined;
          const answer = ask(lock, who, [...dead]);
          lock = answer.lock;
          if (answer.refused) expect(dead.has(answer.refused.runId)).toBe(false);
          else expect(lock.holder).toEqual(who);
          if (living && living.runId !== who.runId) expect(lock.holder).toEqual(living);
        }
      }),
    );
  });
});
