import fc from 'fast-check';
import { applyChange, type Intent, type RecordedPlacement, restingStatus, ServiceRecord } from '../../model/record.ts';

const empty = ServiceRecord.parse({ v: 1, estate: 'e', service: 's' });
const resource = { key: 'bucket', kind: 'aws.s3.bucket', name: 'b', id: '', needs: [], holdsData: true, outputs: {} };
const intent = (provider: 'aws' | 'gcp', generation: number, runId = 'r1'): Intent => ({
  workflowId: 'w',
  runId,
  operation: 'deploy',
  provider,
  providerType: provider,
  region: 'r',
  account: 'a',
  generation,
  resource,
  undo: 'remove',
  at: '2026-01-01T00:00:00Z',
});
const placement = (provider: 'aws' | 'gcp', generation: number): RecordedPlacement => ({
  provider,
  providerType: provider,
  type: 'storage',
  region: 'r',
  account: 'a',
  generation,
  configuration: {},
  role: 'current',
  resources: [resource],
  monthlyCostUsd: 10.005,
  endpoint: '',
  health: 'healthy: ok',
});
const begin = (intents: Intent[]) => ({
  kind: 'intents' as const,
  type: 'storage' as const,
  status: 'deploying' as const,
  intents,
});

describe('the record of a service', () => {
  it('keeps an intent open until its placement is settled', () => {
    const begun = applyChange(empty, 'r1', begin([intent('aws', 1), intent('gcp', 1)]));
    expect(restingStatus(begun)).toBe('interrupted');
    const settled = applyChange(begun, 'r1', { kind: 'settled', placement: placement('aws', 1) });
    expect(settled.intents.map(({ provider }) => provider)).toEqual(['gcp']);
    expect(restingStatus(applyChange(settled, 'r1', { kind: 'settled', placement: placement('gcp', 1) }))).toBe(
      'running',
    );
  });

  it('is as before when a placement is withdrawn, but for the generation, which is never handed out twice', () => {
    const before = applyChange(empty, 'r0', { kind: 'settled', placement: placement('aws', 1) });
    const begun = applyChange(before, 'r1', begin([intent('aws', 1), intent('gcp', 4)]));
    const aws = applyChange(begun, 'r1', {
      kind: 'withdrawn',
      provider: 'aws',
      generation: 1,
      before: placement('aws', 1),
      retained: [],
    });
    const both = applyChange(aws, 'r1', { kind: 'withdrawn', provider: 'gcp', generation: 4, retained: [] });
    expect(both.placements).toEqual(before.placements);
    expect(both.intents).toEqual([]);
    expect(both.generations).toEqual({ aws: 1, gcp: 4 });
  });

  it('leaves the intents of another run open', () => {
    const begun = applyChange(
      applyChange(empty, 'old', begin([intent('aws', 1, 'old')])),
      'r1',
      begin([intent('aws', 2)]),
    );
    expect(
      applyChange(begun, 'r1', { kind: 'settled', placement: placement('aws', 2) }).intents.map(({ runId }) => runId),
    ).toEqual(['old']);
  });

  it('counts every change', () => {
    fc.assert(
      fc.property(
        fc.array(fc.integer({ min: 1, max: 9 }), { maxLength: 30 }),
        fc.string({ maxLength: 2000 }),
        (generations, text) => {
          let record = empty;
          for (const generation of generations)
            record = applyChange(record, 'r', {
              kind: 'settled',
              placement: { ...placement('aws', 1), generation: generation > 3 ? 1 : generation, endpoint: text },
            });
          record = applyChange(record, 'r', { kind: 'status', status: 'blocked', waitingFor: text });
          expect(record.revision).toBe(generations.length + 1);
        },
      ),
      { numRuns: 50 },
    );
  });
});
