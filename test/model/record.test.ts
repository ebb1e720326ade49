import fc from 'fast-check';
import {
  applyChange,
  begunPlacements,
  type Intent,
  type RecordedPlacement,
  restingStatus,
  ServiceRecord,
} from '../../model/record.ts';

const empty = ServiceRecord.parse({ v: 1, estate: 'e', service: 's' });
const resource = { key: 'bucket', kind: 'aws.s3.bucket', name: 'b', id: '', needs: [], holdsData: true, outputs: {} };
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
  settlesAt: '',
});
const intent = (provider: 'aws' | 'gcp', generation: number, runId = 'r1'): Intent => ({
  workflowId: 'w',
  runId,
  operation: 'deploy',
  at: '2026-01-01T00:00:00Z',
  placement: placement(provider, generation),
  creates: ['bucket'],
  deleteData: false,
});
const begin = (intents: Intent[]) => ({
  kind: 'intents' as const,
  type: 'storage' as const,
  status: 'deploying' as const,
  intents,
});

describe('the record of a service', () => {
  it('keeps an intent open until its placement is settled', () => {
    const begun = applyChange(empty, begin([intent('aws', 1), intent('gcp', 1)]));
    expect(restingStatus(begun)).toBe('interrupted');
    const settled = applyChange(begun, { kind: 'settled', placement: placement('aws', 1) });
    expect(settled.intents.map(({ placement: { provider } }) => provider)).toEqual(['gcp']);
    expect(restingStatus(applyChange(settled, { kind: 'settled', placement: placement('gcp', 1) }))).toBe('running');
  });

  it('is as before when a placement is withdrawn, but for the generation, which is never handed out twice', () => {
    const before = applyChange(empty, { kind: 'settled', placement: placement('aws', 1) });
    const begun = applyChange(before, begin([intent('aws', 1), intent('gcp', 4)]));
    const aws = applyChange(begun, {
      kind: 'withdrawn',
      provider: 'aws',
      generation: 1,
      before: placement('aws', 1),
      retained: [],
    });
    const both = applyChange(aws, { kind: 'withdrawn', provider: 'gcp', generation: 4, retained: [] });
    expect(both.placements).toEqual(before.placements);
    expect(both.intents).toEqual([]);
    expect(both.generations).toEqual({ aws: 1, gcp: 4 });
  });

  it('leaves what was begun under another generation open, and gives an intent to whoever takes it up', () => {
    const old = applyChange(empty, begin([intent('aws', 1, 'old'), intent('gcp', 1, 'old')]));
    const taken = applyChange(old, begin([intent('aws', 1, 'new'), intent('gcp', 2, 'new')]));
    expect(
      taken.intents.map(({ runId, placement: { provider, generation } }) => [runId, provider, generation]),
    ).toEqual([
      ['old', 'gcp', 1],
      ['new', 'aws', 1],
      ['new', 'gcp', 2],
    ]);
    const settled = applyChange(taken, { kind: 'settled', placement: placement('gcp', 2) });
    expect(settled.intents.map(({ runId }) => runId)).toEqual(['old', 'new']);
    expect(begunPlacements(settled).map(({ provider, generation }) => [provider, generation])).toEqual([
      ['gcp', 1],
      ['aws', 1],
    ]);
  });

  it('remembers where it has ever been, and lists what is left behind until a scan finds it gone', () => {
    const stray = { provider: 'aws', kind: 'aws.ec2.vpc', name: 'net', reason: 'found' };
    const moved = applyChange(
      applyChange(empty, begin([intent('aws', 1)])),
      begin([intent('gcp', 2), intent('aws', 3)]),
    );
    expect(moved.places.map(({ provider }) => provider)).toEqual(['aws', 'gcp']);
    const left = applyChange(moved, { kind: 'orphans', how: 'left', orphans: [stray] });
    const found = applyChange(left, { kind: 'orphans', how: 'found', orphans: [] });
    expect([left.orphans, found.orphans]).toEqual([[stray], []]);
  });

  it('counts every change', () => {
    fc.assert(
      fc.property(
        fc.array(fc.integer({ min: 1, max: 9 }), { maxLength: 30 }),
        fc.string({ maxLength: 2000 }),
        (generations, text) => {
          let record = empty;
          for (const generation of generations)
            record = applyChange(record, {
              kind: 'settled',
              placement: { ...placement('aws', 1), generation: generation > 3 ? 1 : generation, endpoint: text },
            });
          record = applyChange(record, { kind: 'status', status: 'blocked', waitingFor: text });
          expect(record.revision).toBe(generations.length + 1);
        },
      ),
      { numRuns: 50 },
    );
  });
});
