import { type Copy, chooseCopy, rebuiltService, type Sought } from '../../model/rebuild.ts';
import { EstateRecord, ServiceRecord } from '../../model/record.ts';
import { evidence, type Kept, keyOf } from '../../model/records.ts';

const sought: Sought = { estate: 'e', uid: 'u', controller: 'c', accounts: { aws: '1', gcp: 'p' } };
const record = (more: object = {}): ServiceRecord => ServiceRecord.parse({ v: 1, estate: 'e', service: 's', ...more });
const copy = (bucket: string, change: Partial<Kept> = {}, problem = ''): Copy => {
  const kept: Kept = { v: 1, uid: 'u', controller: 'c', workflowId: 'w', runId: 'r', record: record(), ...change };
  return { bucket, key: keyOf(kept.record), kept, problem };
};
const isService = (one: Kept['record']): one is ServiceRecord => 'service' in one;
const choose = (...copies: Copy[]) => chooseCopy(copies, sought, isService);
const place = (account: string) => ({ provider: 'aws', providerType: 'aws', region: 'r', account });

it('the newest copy counts, and in what the others differ is said', () => {
  const { chosen, differences, refused } = choose(
    copy('old', { record: record({ revision: 2, generations: { aws: 1 } }) }),
    copy('new', { record: record({ revision: 3, generations: { aws: 2 } }) }),
    copy('same', { record: record({ revision: 3, generations: { aws: 2 } }) }),
  );
  expect(chosen?.bucket).toBe('new');
  expect(differences).toEqual([
    'old has revision 2, new revision 3, which counts: they differ in generations, revision',
  ]);
  expect(refused).toEqual([]);
});

it('a newer copy that its run has not written does not count', () => {
  const doubtful = copy('forged', { record: record({ revision: 9 }) }, 'its hash is not in the trail');
  const { chosen, refused } = choose(copy('good', { record: record({ revision: 1 }) }), doubtful);
  expect(chosen?.bucket).toBe('good');
  expect(refused).toEqual([{ bucket: 'forged', why: 'its hash is not in the trail' }]);
});

it.each([
  ['estate', { record: record({ estate: 'other' }) }, 'it is of the estate other'],
  ['UID', { uid: 'other' }, 'it is of the UID other'],
  ['controller', { controller: 'other' }, 'its controller is other'],
  [
    'account',
    { record: record({ places: [place('2')] }) },
    'it names the account 2 on aws; the credentials belong to 1',
  ],
  ['kind', { record: EstateRecord.parse({ v: 1, estate: 'e' }) }, 'is a record of something else'],
])('a copy of another %s is refused', (_, change, why) => {
  const { chosen, refused } = choose(copy('here', change));
  expect(chosen).toBeUndefined();
  expect(refused).toEqual([{ bucket: 'here', why: expect.stringContaining(why) }]);
});

it('a copy of our own account counts, and one of a cloud that is not configured any more', () => {
  const gone = { ...place('9'), provider: 'former' };
  expect(choose(copy('here', { record: record({ places: [place('1'), gone] }) })).chosen).toBeDefined();
});

it('the hash of a copy changes with each of its values', () => {
  const values = [{}, { revision: 1 }, { generations: { aws: 1 } }, { status: 'running' }].map(record);
  expect(new Set(values.map((one) => evidence(one).resource)).size).toBe(values.length);
});

it('a rebuilt record is held by nobody and says what it waits for', () => {
  const holder = { workflowId: 'w', runId: 'r', operation: 'deploy', planHash: '' };
  const rebuilt = rebuiltService(record({ holder, status: 'deploying', applied: { r: ['1'] } }), 'u', []);
  expect(rebuilt).toMatchObject({ status: 'removed', applied: {}, revision: 1 });
  expect(rebuilt.holder).toBeUndefined();
  expect(rebuilt.waitingFor).toContain('recover --confirm u');
});
