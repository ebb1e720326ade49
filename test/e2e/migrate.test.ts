/**
 * Migrations between the local clouds, while another program writes all the time: what it was told was written is there
 * afterwards, wherever the service ends, and nothing else is left. A sample chosen by the commit; with the whole matrix all
 * directions.
 */
import { randomBytes } from 'node:crypto';
import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { HeadObjectCommand, PutObjectCommand, S3Client } from '@aws-sdk/client-s3';
import { findStrays } from '../../activities/providers/strays.ts';
import { resolveEndpoint } from '../../client/endpoint.ts';
import { EstateClient, OperationFailed, type OperationHandle } from '../../client/index.ts';
import { sampleZone } from '../../emulators/environment.ts';
import type { WaitingFor } from '../../model/decisions.ts';
import type { RecordedPlacement } from '../../model/record.ts';
import type { Placement, ProviderType, ServiceType } from '../../model/service.ts';
import { chosen } from '../faults/choice.ts';
import { statusOf, type Visitor, visitors } from '../fence/visitors.ts';
import { localRun } from '../local/stack.ts';
import { type OwnWorker, ownWorker, quietTemporal, writeEstate } from './own-worker.ts';

const clouds: ProviderType[] = ['aws', 'azure', 'gcp'];
const directions = clouds.flatMap((from) => clouds.filter((to) => to !== from).map((to) => ({ from, to })));
const types = ['storage', 'data_lake'] as const satisfies ServiceType[];
const ends = ['done', 'undone in the soak'] as const;
interface Case {
  id: string;
  service: string;
  from: ProviderType;
  to: ProviderType;
  type: (typeof types)[number];
  end: (typeof ends)[number];
}
const suffix = randomBytes(2).toString('hex');
const cases: Case[] = directions.flatMap(({ from, to }) =>
  types.flatMap((type) =>
    ends.map((end, at) => ({
      id: `${type} from ${from} to ${to}, ${end}`,
      service: `s${suffix}_${from}_${to}_${type === 'storage' ? 's' : 'l'}${at}`,
      from,
      to,
      type,
      end,
    })),
  ),
);
const mine = chosen(cases, ({ end }) => end);
/** Holds an object that must be restored from its archive tier before it can be read. */
const frozen = { service: `s${suffix}_frozen`, from: 'aws', to: 'gcp', type: 'storage' } as const;

let worker: OwnWorker;
let estate: EstateClient;
const file = join(mkdtempSync(join(tmpdir(), 'migrate-')), 'estate.yaml');
const serviceOn = ({ type }: Pick<Case, 'type'>, preferred: string[]) => ({
  type,
  redundancy: 1,
  preferred_providers: preferred,
});

beforeAll(async () => {
  quietTemporal();
  writeEstate(
    file,
    'migrate',
    Object.fromEntries([...mine, frozen].map((one) => [one.service, serviceOn(one, [one.from, one.to])])),
    { traffic: { zone: sampleZone, dns: 'gcp', ttl: '2s' } },
  );
  const waits = { callDeadlineMs: 10_000, settleMs: 1000, blockedMs: 500, followMs: 300, fenceMs: 300 };
  worker = await ownWorker({ namespace: `migrate-${suffix}`, estateFile: file, waits, moves: (real) => real });
  estate = new EstateClient(worker.client, 'migrate', '');
}, 120_000);
afterAll(() => worker.close(), 60_000);

/** A program that writes all the time, where the service's endpoint record says, and remembers what it was told was written. */
class Writer {
  readonly written = new Map<string, string>();
  /** Longest time from a write that was refused to the next one that was taken, milliseconds. */
  longestRefusal = 0;
  readonly failedReads: string[] = [];
  #visitor: Visitor;
  #stopped = false;
  #refusedSince: number | undefined;
  readonly #running: Promise<void>;

  constructor(visitor: Visitor) {
    this.#visitor = visitor;
    this.#running = this.#write();
  }

  /** Goes there from now on; where it was before, nothing is written any more. */
  moveTo(visitor: Visitor): void {
    this.#visitor = visitor;
  }

  async #write(): Promise<void> {
    for (let n = 0; !this.#stopped; n++) {
      // One in three writes again what is there already.
      const key = `live/${n % 3 === 0 ? n % 10 : n}`;
      const text = `${n} ${randomBytes(8).toString('hex')}`;
      const visitor = this.#visitor;
      try {
        await visitor.write(key, text);
        this.written.set(key, text);
        if (this.#refusedSince) this.longestRefusal = Math.max(this.longestRefusal, Date.now() - this.#refusedSince);
        this.#refusedSince = undefined;
      } catch (error) {
        if (statusOf(error) !== 403) throw error;
        this.#refusedSince ??= Date.now();
        // A write that is refused did not happen; reads go on.
        const known = [...this.written.keys()].at(-1) ?? '';
        await visitor.read(known).catch(() => this.failedReads.push(known));
      }
      await setTimeout(30);
    }
  }

  stop(): Promise<void> {
    this.#stopped = true;
    return this.#running;
  }
}

async function visit(service: string, provider: string): Promise<Visitor> {
  const record = await estate.service(service);
  const recorded = record?.placements.find((one) => one.provider === provider);
  if (!recorded) throw new Error(`${service} is not on ${provider}`);
  const made = Object.fromEntries(recorded.resources.map(({ key, outputs }) => [key, outputs]));
  return visitors[recorded.providerType](placementOf(service, recorded), made);
}
const placementOf = (service: string, recorded: RecordedPlacement): Placement => ({
  ...recorded,
  owner: { estate: 'migrate', uid: '', service, controller: '', generation: recorded.generation },
});

async function asked(handle: OperationHandle, question: string): Promise<WaitingFor> {
  for (;;) {
    const { waitingFor, blocked } = await handle.progress();
    const one = waitingFor.find((each) => each.question === question);
    if (one) return one;
    if (blocked) throw new Error(blocked);
    const { status } = await worker.client.workflow.getHandle(handle.workflowId).describe();
    if (status.name !== 'RUNNING') await handle.result();
    await setTimeout(100);
  }
}

/** What carries the estate's tags on a cloud and is in no record of the service. */
async function strays(service: string, provider: ProviderType): Promise<string[]> {
  const record = await estate.service(service);
  const uid = (await estate.estate())?.uid ?? '';
  const on = await worker.pool.get(provider);
  const place = record?.places.find((one) => one.provider === provider);
  if (!record || !place) return [];
  const owner = { estate: 'migrate', uid, service, controller: '', generation: 1 };
  const placement: Placement = { ...place, owner, type: record.type ?? 'storage', configuration: {} };
  const known = record.placements.flatMap(({ resources }) => resources);
  const found = await findStrays(on, placement, known, AbortSignal.timeout(30_000));
  return found.filter((one) => one.service === service).map(({ kind, name }) => `${kind} ${name}`);
}

const nameServers = () => [localRun().dns.gcp ?? ''];
const endpointOf = async (service: string) =>
  (await resolveEndpoint({ service, zone: sampleZone, servers: nameServers() })).endpoints.map(
    ({ provider }) => provider,
  );

it.each(mine)(
  '$id: every acknowledged write arrives',
  async (one) => {
    const { service, from, to, end } = one;
    const deployed = await estate.deployService(service, { file: { services: { [service]: serviceOn(one, [from]) } } });
    expect(await deployed.result()).toMatchObject({ outcome: 'done', placements: [{ provider: from }] });
    expect(await endpointOf(service)).toEqual([from]);
    const atSource = await visit(service, from);
    for (let n = 0; n < 40; n++) await atSource.write(`old/${n}/ä + %25/${n}`, `old ${n}`);
    const writer = new Writer(atSource);

    const soak = end === 'done' ? '4s' : '1h';
    const migration = await estate.migrate({ service, from, to, soak, source_retention: '1s', by: 'ann' });
    const { plan } = await asked(migration, 'cutover');
    await migration.approve({ by: 'ann', plan });
    while ((await endpointOf(service))[0] !== to) await setTimeout(50);
    const atTarget = await visit(service, to);
    writer.moveTo(atTarget);
    const switched = writer.written.size;
    const back = await asked(migration, 'undo');
    while (writer.written.size < switched + 20) await setTimeout(50);

    if (end === 'done') {
      expect(await migration.result()).toMatchObject({ outcome: 'done', placements: [{ provider: to }], orphans: [] });
      await writer.stop();
    } else {
      await migration.approve({ by: 'ann', plan: back.plan });
      while ((await endpointOf(service))[0] !== from) await setTimeout(50);
      writer.moveTo(atSource);
      const ended = await migration.result().catch((error: unknown) => error);
      expect(ended instanceof OperationFailed && [ended.type, ended.result?.orphans]).toEqual(['UndoRequested', []]);
      const returned = writer.written.size;
      while (writer.written.size < returned + 5) await setTimeout(50); // it can write again
      await writer.stop();
    }

    const [final, other] = end === 'done' ? [to, from] : [from, to];
    const reader = end === 'done' ? atTarget : atSource;
    expect(writer.failedReads).toEqual([]);
    expect(writer.written.size).toBeGreaterThan(30);
    const wrong: string[] = [];
    for (const [key, text] of writer.written)
      if ((await reader.read(key).catch((error: unknown) => String(error))) !== text) wrong.push(key);
    for (let n = 0; n < 40; n++)
      if ((await reader.read(`old/${n}/ä + %25/${n}`)) !== `old ${n}`) wrong.push(`old ${n}`);
    expect(wrong).toEqual([]);
    expect(await endpointOf(service)).toEqual([final]);

    // The source of a migration that is done is removed by the record once its retention is over.
    for (let look = 0; look < 100 && ((await estate.service(service))?.placements.length ?? 0) > 1; look++)
      await setTimeout(200);
    const record = await estate.service(service);
    expect(record).toMatchObject({ placements: [{ provider: final, role: 'current' }], intents: [], orphans: [] });
    expect(record?.migration).toBeUndefined();
    expect([...(await strays(service, final)), ...(await strays(service, other))]).toEqual([]);
    process.stdout.write(`${one.id}: writes were refused for ${writer.longestRefusal} ms at most\n`);
    const removed = await estate.remove({ service, confirm: `migrate/${service}` });
    expect(await removed.result()).toMatchObject({ outcome: 'done', orphans: [] });
    await (end === 'done' ? atTarget : atSource).leave().catch(() => {});
  },
  300_000,
);

it('goes on without what it cannot copy when somebody says so, and then deletes nothing of it', async () => {
  const { service, from, to } = frozen;
  const deployed = await estate.deployService(service, {
    file: { services: { [service]: serviceOn(frozen, [from]) } },
  });
  await deployed.result();
  const [placed] = (await estate.service(service))?.placements ?? [];
  const Bucket = placed?.resources[0]?.outputs.bucket;
  const s3 = new S3Client({ region: placed?.region ?? '' });
  await s3.send(new PutObjectCommand({ Bucket, Key: 'frozen', Body: 'kept', StorageClass: 'GLACIER' }));
  await s3.send(new PutObjectCommand({ Bucket, Key: 'plain', Body: 'moved' }));

  const migration = await estate.migrate({ service, from, to, soak: '3s', source_retention: '1s', by: 'ann' });
  const { plan: objects, text } = await asked(migration, 'objects');
  expect(text).toContain('1 × archived');
  await migration.decide({ question: 'objects', answer: 'skip', by: 'ann', plan: objects });
  await migration.approve({ by: 'ann', plan: (await asked(migration, 'cutover')).plan });
  expect(await migration.result()).toMatchObject({ outcome: 'done', placements: [{ provider: to }] });

  expect(await (await visit(service, to)).read('plain')).toBe('moved');
  await setTimeout(2500); // past its retention
  const { placements = [] } = (await estate.service(service)) ?? {};
  expect(placements.map(({ provider, role, removeAt }) => [provider, role, removeAt])).toEqual([
    [from, 'retained', undefined],
    [to, 'current', undefined],
  ]);
  expect(await s3.send(new HeadObjectCommand({ Bucket, Key: 'frozen' }))).toMatchObject({ StorageClass: 'GLACIER' });
  const confirm = `migrate/${service}`;
  expect(await (await estate.remove({ service, retained: true, confirm })).result()).toMatchObject({ orphans: [] });
  expect((await estate.service(service))?.placements.map(({ provider }) => provider)).toEqual([to]);
  expect(await (await estate.remove({ service, confirm })).result()).toMatchObject({ outcome: 'done', orphans: [] });
}, 180_000);
