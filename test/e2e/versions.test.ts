/** Services that move with the history of their objects: what each key was, one after the other, is kept on the other cloud too. */
import { createHash, randomBytes } from 'node:crypto';
import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { crc32 } from 'node:zlib';
import { md5Of, type ObjectStore } from '../../activities/providers/object-store.ts';
import { Gate } from '../../activities/transfer/gate.ts';
import { historiesIn } from '../../activities/transfer/histories.ts';
import { EstateClient, type OperationHandle } from '../../client/index.ts';
import type { EstatePlan } from '../../model/operations.ts';
import type { ProviderType } from '../../model/service.ts';
import { placementRef } from '../../model/transfer.ts';
import { type OwnWorker, ownWorker, quietTemporal, writeEstate } from './own-worker.ts';

const suffix = randomBytes(2).toString('hex');
const moves = [
  { service: `v${suffix}_a`, from: 'aws', to: 'azure' },
  { service: `v${suffix}_b`, from: 'gcp', to: 'aws' },
] as const satisfies { service: string; from: ProviderType; to: ProviderType }[];
const { signal } = new AbortController();

let worker: OwnWorker;
let estate: EstateClient;
const file = join(mkdtempSync(join(tmpdir(), 'versions-')), 'estate.yaml');
const wish = (providers: string[]) => ({ type: 'storage', redundancy: 1, preferred_providers: providers });

beforeAll(async () => {
  quietTemporal();
  writeEstate(file, 'versions', Object.fromEntries(moves.map((one) => [one.service, wish([one.from, one.to])])));
  const waits = { callDeadlineMs: 10_000, settleMs: 1000, blockedMs: 500, followMs: 300, fenceMs: 300 };
  worker = await ownWorker({ namespace: `versions-${suffix}`, estateFile: file, waits, moves: (real) => real });
  estate = new EstateClient(worker.client, 'versions', '');
}, 120_000);
afterAll(() => worker.close(), 60_000);

async function storeOn(service: string, provider: string): Promise<ObjectStore> {
  const recorded = (await estate.service(service))?.placements.find((one) => one.provider === provider);
  if (!recorded) throw new Error(`${service} is not on ${provider}`);
  return (await worker.pool.get(provider)).store(
    placementRef({ estate: '', uid: '', service, controller: '' }, recorded),
  );
}

async function put(store: ObjectStore, key: string, text: string): Promise<void> {
  const now = await store.head(key, signal);
  const bytes = Buffer.from(text);
  const piece = { chunks: [bytes], bytes: bytes.length };
  const object = { key, size: bytes.length, attributes: { headers: {}, metadata: {}, tags: {} }, md5: md5Of(piece) };
  await store.write(
    { ...object, expected: now ? { version: now.version } : { absent: true } },
    piece,
    crc32(bytes),
    signal,
  );
}

/** What each key was, oldest first, by its SHA-256. */
async function histories(store: ObjectStore): Promise<[string, string[]][]> {
  const provider = await worker.pool.get(store.id.split(':')[0] ?? '');
  const found: [string, string[]][] = [];
  for await (const { key, kept } of historiesIn(
    { gate: new Gate(signal), signal },
    { provider, store },
    { after: '', to: '' },
  )) {
    const row: string[] = [];
    for (const { object } of kept) {
      if (!object) continue;
      const { piece } = await store.read(object, { from: 0, bytes: object.size }, signal);
      row.push(createHash('sha256').update(Buffer.concat(piece.chunks)).digest('hex'));
    }
    found.push([key, row]);
  }
  return found;
}

async function asked(handle: OperationHandle, question: string): Promise<string> {
  for (;;) {
    const { waitingFor, blocked } = await handle.progress();
    const one = waitingFor.find((each) => each.question === question);
    if (one) return one.plan;
    if (blocked) throw new Error(blocked);
    const { status } = await worker.client.workflow.getHandle(handle.workflowId).describe();
    if (status.name !== 'RUNNING') await handle.result();
    await setTimeout(100);
  }
}

it.each(moves)(
  'from $from to $to',
  async ({ service, from, to }) => {
    const deployed = await estate.deployService(service, { file: { services: { [service]: wish([from]) } } });
    await deployed.result();
    const here = await storeOn(service, from);
    for (const text of ['one', 'two', 'three'])
      for (const key of ['a', 'b/ü +']) await put(here, key, `${key} ${text}`);
    await put(here, 'gone', 'deleted by now');
    const gone = await here.head('gone', signal);
    if (gone) await here.remove(gone, signal);
    const before = await histories(here);

    const moving = { service, from, to, soak: '1s', source_retention: '1h', versions: true, by: 'ann' };
    const migration = await estate.migrate(moving);
    const plan = await asked(migration, 'cutover');
    const shown = await worker.client.workflow.getHandle(migration.workflowId).query<EstatePlan>('plan');
    expect(shown.warnings.join('\n')).toContain('versions are copied once');
    expect(shown.warnings.join('\n')).not.toContain('versioning is off');
    await migration.approve({ by: 'ann', plan });
    expect(await migration.result()).toMatchObject({ outcome: 'done', placements: [{ provider: to }] });
    const there = await storeOn(service, to);
    expect(await histories(there)).toEqual(before);
    expect(await there.head('gone', signal)).toBeUndefined();
  },
  200_000,
);
