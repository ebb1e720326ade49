/** Placements with real stores on the local clouds, and the engine's activities as a worker would run them. */
import { createHash, randomBytes } from 'node:crypto';
import { crc32 } from 'node:zlib';
import { MockActivityEnvironment } from '@temporalio/testing';
import type { Provider } from '../../activities/providers/driver.ts';
import { type Attributes, md5Of, type ObjectStore } from '../../activities/providers/object-store.ts';
import { ProviderPool } from '../../activities/providers/pool.ts';
import { Resource } from '../../activities/providers/provision.ts';
import { createTransferActivities } from '../../activities/transfer/activities.ts';
import type { RecordedResource } from '../../model/record.ts';
import { recordsPlacement } from '../../model/records.ts';
import type { Outputs, Placement, ProviderType, ServiceType } from '../../model/service.ts';
import { type PlacementRef, placementRef, type TransferActivities } from '../../model/transfer.ts';
import { testProviders } from '../conformance/providers.ts';
import { localRun } from '../local/stack.ts';

export const pairs = [
  ['aws', 'gcp'],
  ['gcp', 'aws'],
  ['aws', 'azure'],
  ['azure', 'aws'],
  ['azure', 'gcp'],
  ['gcp', 'azure'],
] as const satisfies [ProviderType, ProviderType][];

/** Providers by their types, which are their names in the sample estate; with other credentials where they are given. */
export const poolOf = (secrets: Readonly<Record<string, string>> = {}): ProviderPool =>
  new ProviderPool({
    estateFile: localRun().estateFile,
    pollMs: 25,
    callDeadlineMs: 20_000,
    secrets: () => ({ ...process.env, ...secrets }),
  });
export const pool = poolOf();
/** Larger objects go in parts: so large ones are small here. */
const callBytes = 32 * 1024 * 1024;
const activitiesOf = (of: ProviderPool) =>
  createTransferActivities({ pool: of, pollMs: 25, callDeadlineMs: 20_000, callBytes });
const activities = activitiesOf(pool);
const pace = { pollMs: 25, heartbeat: () => {} };
/** For calls that nothing cancels: each test ends by its own timeout. */
export const { signal } = new AbortController();

type Answer<K extends keyof TransferActivities> = Awaited<ReturnType<TransferActivities[K]>>;

/** Runs activities as a worker with these providers does. */
export function runner(of: ProviderPool) {
  const own = activitiesOf(of);
  return <K extends keyof TransferActivities>(name: K, input: Parameters<TransferActivities[K]>[0]) =>
    run(name, input, new MockActivityEnvironment(), own);
}

/** Runs an activity as a worker does, with what it would find of an earlier attempt. */
export async function run<K extends keyof TransferActivities>(
  name: K,
  input: Parameters<TransferActivities[K]>[0],
  environment = new MockActivityEnvironment(),
  of: TransferActivities = activities,
): Promise<Answer<K>> {
  const act = of[name] as (input: unknown) => Promise<unknown>;
  const answer: unknown = await environment.run(async () => act(input));
  return answer as Answer<K>;
}

/** A placement whose every resource is there. */
export async function placed(providerType: ProviderType, type: ServiceType = 'storage'): Promise<PlacementRef> {
  const { region, account } = testProviders[providerType];
  const owner = {
    estate: 'transfer',
    uid: randomBytes(16).toString('hex'),
    service: type === 'storage' ? 'firmware' : 'lake',
    controller: 'test',
    generation: 1,
  };
  const configuration =
    type === 'storage'
      ? { storage_size_tb: 1, retention_days: 90 }
      : { storage_size_tb: 100, ingestion_rate_mbps: 100, retention_days: 365 };
  const placement: Placement = { owner, type, provider: providerType, providerType, region, account, configuration };
  return madeBy(await pool.get(providerType), placement);
}

/** Makes a placement, or the resources of it that are `wanted`, and tells of it as its record would. */
export async function madeBy(
  provider: Provider,
  placement: Placement,
  wanted = (_key: string): boolean => true,
): Promise<PlacementRef> {
  const { owner, type, provider: name, providerType, region, account, configuration } = placement;
  const cell = provider.cells.find((candidate) => candidate.type === type);
  if (!cell) throw new Error(`no cell for ${type}`);
  const outputs: Record<string, Outputs> = {};
  const resources: RecordedResource[] = [];
  for (const spec of cell.design(placement).filter(({ key }) => wanted(key))) {
    const needs = Object.fromEntries(spec.needs.map((need) => [need, outputs[need] ?? {}]));
    const ensured = await new Resource(provider, cell, spec, { placement, needs, signal }).ensure(pace);
    outputs[spec.key] = ensured.outputs;
    const { key, kind, name, holdsData } = spec;
    resources.push({ key, kind, name, id: ensured.id, needs: spec.needs, holdsData, outputs: ensured.outputs });
  }
  const { generation, ...named } = owner;
  const rest = { role: 'current' as const, monthlyCostUsd: 0, endpoint: '', health: '', settlesAt: '' };
  return placementRef(named, {
    provider: name,
    providerType,
    type,
    region,
    account,
    configuration,
    generation,
    resources,
    ...rest,
  });
}

/** The engine's own view of a store, through which tests fill it and read it back. */
export const storeOf = async (placement: PlacementRef) => (await pool.get(placement.provider)).store(placement);

/** Lines of the files of a transfer, whose keys begin so. */
export async function recordsUnder(target: PlacementRef, prefix: string): Promise<Map<string, Uint8Array>> {
  const { objects } = await pool.get(target.provider);
  const placement = recordsPlacement(target.owner, target);
  const found = new Map<string, Uint8Array>();
  const keys = (await objects.list(placement, prefix, signal)).sort();
  for (let at = 0; at < keys.length; at += 16) {
    const some = keys.slice(at, at + 16);
    const read = await Promise.all(some.map((key) => objects.get(placement, key, signal)));
    for (const [n, key] of some.entries()) if (read[n]) found.set(key, read[n].bytes);
  }
  return found;
}

export const plain: Attributes = { headers: { 'content-type': 'text/plain' }, metadata: {}, tags: {} };

/** Writes an object as another program would, without a mark. */
export async function fill(
  store: ObjectStore,
  key: string,
  bytes: Buffer,
  attributes: Attributes = plain,
): Promise<void> {
  const piece = { chunks: bytes.length > 0 ? [bytes] : [], bytes: bytes.length };
  const object = { key, size: bytes.length, attributes, expected: { absent: true as const }, md5: md5Of(piece) };
  await store.write(object, piece, crc32(bytes), signal);
}

/** SHA-256 of what stands under each key. */
export async function contents(store: ObjectStore): Promise<Map<string, string>> {
  const found = new Map<string, string>();
  for (let token: string | undefined; ; ) {
    const page = await store.page({ after: '', token }, signal);
    for (const object of page.objects) {
      const { piece } =
        object.size > 0 ? await store.read(object, { from: 0, bytes: object.size }, signal) : { piece: { chunks: [] } };
      found.set(object.key, createHash('sha256').update(Buffer.concat(piece.chunks)).digest('hex'));
    }
    if (page.next === undefined) return found;
    token = page.next;
  }
}
