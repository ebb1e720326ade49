/**
 * `rebuildEstate`: after a lost Temporal database, makes the records of the estate again from the copies in its records
 * buckets and from what carries its tags. They are read-only until a second run of it confirms them.
 */
import type { Found } from '../activities/providers/driver.ts';
import type { Estate } from '../model/estate.ts';
import { type OperationResult, RebuildEstateInput, type Rebuilt } from '../model/operations.ts';
import { type Copy, chooseCopy, rebuiltEstate, rebuiltService, type Sought } from '../model/rebuild.ts';
import { type EstateRecord, type Orphan, type Place, restingStatus, ServiceRecord } from '../model/record.ts';
import { estateKey, isRecords, recordsPlacement } from '../model/records.ts';
import type { Placement } from '../model/service.ts';
import { applicationFailure, cloud, control, failure } from './calls.ts';
import { Operation } from './operation.ts';
import { reason } from './progress.ts';
import { placementOf } from './removal.ts';

export type RebuildResult = OperationResult & { rebuilt?: Rebuilt };

/** Found once in each region that was searched; resources of a whole account are found in all of them. */
type Owned = Found & { place: Place };

export async function rebuildEstate(raw: unknown): Promise<RebuildResult> {
  const op = new Operation('recover');
  return op.run(async () => {
    const input = op.parse(RebuildEstateInput, raw);
    const { estate } = await control.loadEstate({ estate: input.estate });
    op.about(estate.name);
    const lock = await op.locks.take(undefined, `rebuild/${input.confirm ?? input.uid ?? ''}`);
    if ('attached' in lock) return lock.attached;
    if (input.confirm !== undefined) return confirmRebuilt(op, input.confirm, input.by);
    await refuseWhereRecordsAre(estate.name);

    op.board.phase('looking');
    const places = await op.board.step('places', () => placesOf(op, estate));
    const everything = await op.board.step('resources', () => search(op, places, { estate: estate.name, uid: '' }));
    const { uid, controller } = chooseEstate(estate.name, everything, input.uid);
    const accounts = Object.fromEntries(places.map(({ provider, account }) => [provider, account]));
    const sought = { estate: estate.name, uid, controller, accounts };

    op.board.phase('reading records');
    const { copies, owned } = await readEverywhere(op, sought, places, everything);

    op.board.phase('comparing');
    const estateRecord = chooseCopy(copies.get(estateKey) ?? [], sought, isEstate);
    const keys = [...copies.keys()].filter((key) => key !== estateKey).sort();
    const found = keys.map((key) => ({ key, ...chooseCopy(copies.get(key) ?? [], sought, isService) }));
    const refused = [{ key: estateKey, ...estateRecord }, ...found].flatMap((one) =>
      one.refused.map((copy) => ({ ...copy, key: one.key })),
    );
    const kept = found.flatMap(({ chosen, differences }) => (chosen ? [{ ...chosen, differences }] : []));
    const orphans = orphansOf(
      estate,
      owned,
      kept.map(({ record }) => record),
    );
    const services = await Promise.all(
      kept.map(async ({ bucket, record, differences }) => ({
        source: bucket,
        differences: [...differences, ...(await whatRunsOtherwise(op, sought, record))],
        record: rebuiltService(record, uid, orphans.get(record.service) ?? []),
      })),
    );
    for (const [service, left] of orphans)
      if (!services.some(({ record }) => record.service === service))
        services.push({ source: '', differences: [], record: withoutCopy(estate, sought, service, left, owned) });

    services.sort((a, b) => (a.record.service < b.record.service ? -1 : 1));

    op.board.phase('writing');
    const records = services.map(({ record }) => record);
    await control.rebuild({
      estate: rebuiltEstate(
        sought,
        estateRecord.chosen?.record,
        records.map(({ service }) => service),
      ),
      services: records,
    });
    op.board.record(input.by || 'unnamed', 'rebuild the records', `UID ${uid}`);
    for (const { record, source, differences } of services)
      op.board.mark(record.service, {
        status: 'done',
        detail: [source ? `from ${source}` : 'no copy of its record', ...differences].join('; '),
      });
    op.orphans.push(...[...orphans.values()].flat());
    return {
      ...op.result('done'),
      rebuilt: {
        uid,
        services: services.map(({ record, source, differences }) => ({
          service: record.service,
          status: record.status,
          placements: record.placements.map(({ provider, region, generation }) => ({ provider, region, generation })),
          source,
          differences,
        })),
        refused,
      },
    };
  });
}

/** Ends the read-only time, and says so in the records buckets. */
async function confirmRebuilt(op: Operation, uid: string, by: string): Promise<OperationResult> {
  const { estate } = op;
  const known = await control.readEstate({ estate });
  if (!known?.unconfirmed)
    throw failure('InvalidInput', `confirm: the records of the estate ${estate} do not wait for a confirmation.`);
  if (known.uid !== uid)
    throw failure('InvalidInput', `confirm: found ${uid}; the rebuilt records are of the UID ${known.uid}.`);
  const { controller } = await control.openEstate({ estate });
  op.board.record(by || 'unnamed', 'confirm the rebuilt records', `UID ${uid}`);
  for (const record of Object.values(await control.readServices({ estate }))) {
    const { service, placements } = record;
    await op.write(service, { kind: 'status', status: restingStatus(record), waitingFor: '' });
    op.recordsIn(placements.map((one) => placementOf({ estate, uid, controller, service }, one)));
    for (const one of placements) op.achieved(service, one);
  }
  await control.confirmRebuilt({ estate });
  return op.result('done');
}

/** Records that were not rebuilt are not replaced while they say that something runs, or is being done. */
async function refuseWhereRecordsAre(estate: string): Promise<void> {
  const known = await control.readEstate({ estate });
  if (known?.unconfirmed) return;
  const used = Object.values(await control.readServices({ estate })).filter(
    ({ holder, placements, intents }) => holder || placements.length > 0 || intents.length > 0,
  );
  if (used.length > 0)
    throw failure(
      'NotSupported',
      `Temporal has records of the estate ${estate} (UID ${known?.uid}): ${used.map(({ service }) => service).join(', ')}. They are not replaced. Look at them with npx multi-cloud status; where they are of a deployment made after the database was lost, remove it first: npx multi-cloud remove --all`,
    );
}

async function placesOf(op: Operation, estate: Estate): Promise<Place[]> {
  const places = await control.searchPlaces({ estate });
  const providers = [...new Set(places.map(({ provider }) => provider))];
  const accounts = await Promise.all(
    providers.map(async (provider) => {
      const ask = () => cloud(provider, `account of ${provider}`).account({ provider });
      return [provider, await op.held('', ask)] as const;
    }),
  );
  const accountOf = new Map(accounts);
  return places.map((place) => ({ ...place, account: accountOf.get(place.provider) ?? '' }));
}

/** All that bears the estate's name, or its UID, in these places. */
async function search(
  op: Operation,
  places: readonly Place[],
  { estate, uid }: Pick<Sought, 'estate' | 'uid'>,
): Promise<Owned[]> {
  const found = await Promise.all(
    places.map(async (place) => {
      const { provider, region } = place;
      const placement = anywhere(place, estate, uid);
      const look = () => cloud(provider, `search ${provider} ${region}`).findOwned({ placement });
      return (await op.held('', look)).map((one) => ({ ...one, place }));
    }),
  );
  return found.flat();
}

/** Stands for all that an estate has in a place, whatever service it belongs to; with an empty UID, any estate of that name. */
export const anywhere = (place: Place, estate: string, uid: string): Placement => ({
  ...place,
  owner: { estate, uid, controller: '', service: '', generation: 1 },
  type: 'storage',
  configuration: {},
});

/** The one estate of this name that is meant: the named one, or the only one that has anything but records buckets. */
function chooseEstate(estate: string, found: readonly Owned[], named?: string): Pick<Sought, 'uid' | 'controller'> {
  const byUid = Map.groupBy(found, ({ owner }) => owner.uid);
  const live = [...byUid].filter(([, all]) => all.some(({ owner }) => !isRecords(owner.service)));
  const meant =
    named === undefined ? (live.length > 0 ? live : [...byUid]) : [...byUid].filter(([uid]) => uid === named);
  const [one, ...others] = meant;
  if (!one)
    throw failure(
      'ServiceNotFound',
      `Nothing in the accounts and regions of the estate file carries the tags of an estate ${estate}${named === undefined ? '' : ` with the UID ${named}`}: there is nothing to rebuild.`,
    );
  if (others.length > 0)
    throw failure(
      'InvalidInput',
      `uid: the accounts hold ${meant.length} estates of the name ${estate}; name one of them: ${meant.map(([uid, all]) => `npx multi-cloud recover --rebuild ${uid} (${servicesOf(all).join(', ')})`).join('; ')}`,
    );
  const [uid, all] = one;
  const controllers = [...new Set(all.map(({ owner }) => owner.controller))];
  const [controller = ''] = controllers;
  if (controllers.length > 1)
    throw failure(
      'NotOurs',
      `Resources of the UID ${uid} carry the tags of several controllers (${controllers.join(', ')}): some of them are copies that somebody made. Remove their tags, then rebuild.`,
    );
  return { uid, controller };
}

export const servicesOf = (found: readonly Found[]): string[] =>
  [...new Set(found.map(({ owner }) => owner.service))].filter((service) => !isRecords(service)).sort();

/** The copies in every records bucket, and all resources; where a copy names a place that was not searched, it is, too. */
async function readEverywhere(
  op: Operation,
  sought: Sought,
  places: readonly Place[],
  everything: readonly Owned[],
): Promise<{ copies: Map<string, Copy[]>; owned: Owned[] }> {
  const copies = new Map<string, Copy[]>();
  const owned = everything.filter(({ owner }) => owner.uid === sought.uid);
  const searched = new Set(places.map(nameOf));
  for (let next = [...places]; next.length > 0; ) {
    const read = await Promise.all(next.map((place) => readBucket(op, sought, place, owned)));
    for (const copy of read.flat()) copies.set(copy.key, [...(copies.get(copy.key) ?? []), copy]);
    const named = read.flat().flatMap(({ kept }) => (kept && 'service' in kept.record ? kept.record.places : []));
    const unknown = named.filter(
      (place) => !searched.has(nameOf(place)) && sought.accounts[place.provider] === place.account,
    );
    next = [...new Map(unknown.map((place) => [nameOf(place), place])).values()];
    for (const place of next) searched.add(nameOf(place));
    owned.push(...(await search(op, next, sought)));
  }
  return { copies, owned };
}

const nameOf = ({ provider, region }: Pick<Place, 'provider' | 'region'>): string => `${provider} in ${region}`;

/** A bucket is read only where it was found among what is ours: its name alone could be a stranger's. */
async function readBucket(op: Operation, sought: Sought, place: Place, owned: readonly Owned[]): Promise<Copy[]> {
  const placement = recordsPlacement(sought, place);
  const { provider } = place;
  if (!owned.some(({ owner, place: at }) => owner.service === placement.owner.service && at.provider === provider))
    return [];
  const bucket = nameOf(place);
  return op.board.step(
    `records ${bucket}`,
    async () => {
      const keys = await op.held('', () => cloud(provider, `records ${bucket}`).listRecords({ placement }));
      return Promise.all(
        keys.map(async (key): Promise<Copy> => {
          const read = () => cloud(provider, `read ${key}`).readRecord({ placement, key });
          return { bucket, ...(await op.held('', read)) };
        }),
      );
    },
    (read) => `${read.length} copies`,
  );
}

const isEstate = (record: EstateRecord | ServiceRecord): record is EstateRecord => !('service' in record);
const isService = (record: EstateRecord | ServiceRecord): record is ServiceRecord => 'service' in record;

/** What carries the tags of a service and is in no copy of its record. Stores that were kept on purpose are no orphans. */
function orphansOf(estate: Estate, owned: readonly Owned[], records: readonly ServiceRecord[]): Map<string, Orphan[]> {
  const isKnown = ({ kind, name, id, place: { provider } }: Owned): boolean =>
    records.some(({ placements, intents, retained }) =>
      [
        ...[...placements, ...intents.map(({ placement }) => placement)].flatMap((one) =>
          one.resources.map((resource) => ({ ...resource, provider: one.provider })),
        ),
        ...retained.map((store) => ({ ...store, id: '' })),
      ].some(
        (one) =>
          one.provider === provider && one.kind === kind && one.name === name && (one.id === '' || one.id === id),
      ),
    );
  // What belongs to a whole account was found in each of its regions.
  const unknown = new Map(
    owned
      .filter((one) => !one.retainedUntil && !isRecords(one.owner.service) && !isKnown(one))
      .map((one) => [`${one.place.provider} ${one.kind} ${one.id}`, one]),
  );
  const byService = Map.groupBy(unknown.values(), ({ owner }) => owner.service);
  return new Map(
    [...byService].map(([service, found]) => [
      service,
      found.map(({ kind, name, place: { provider } }) => ({
        provider,
        kind,
        name,
        reason: estate.services[service]
          ? 'no copy of a record knows it'
          : `no copy of a record knows it, and the estate file has no service ${service}: add it there, to have it recovered`,
      })),
    ]),
  );
}

/** In what the placements of a record differ from what really is there. */
async function whatRunsOtherwise(op: Operation, identity: Sought, record: ServiceRecord): Promise<string[]> {
  const { estate, uid, controller } = identity;
  const looks = record.placements.map(async (recorded) => {
    const placement = placementOf({ estate, uid, controller, service: record.service }, recorded);
    const { provider } = placement;
    try {
      const look = () => cloud(provider, `inspect ${record.service}`).inspectPlacement({ placement, existing: true });
      const { changes } = await op.held('', look);
      return changes
        .filter(({ action }) => action !== 'none')
        .map(({ name, action, drift }) =>
          action === 'create'
            ? `${provider} ${name} is not there`
            : action === 'remove'
              ? `${provider} ${name} is there and not wanted`
              : `${provider} ${name} differs in ${drift.join(', ')}`,
        );
    } catch (error) {
      if (!applicationFailure(error)) throw error;
      return [reason(error)];
    }
  });
  return (await Promise.all(looks)).flat();
}

/** A service that only its resources tell of: they are listed as orphans, and no later placement takes their names. */
function withoutCopy(
  estate: Estate,
  { uid }: Sought,
  service: string,
  orphans: readonly Orphan[],
  owned: readonly Owned[],
): ServiceRecord {
  const mine = owned.filter(({ owner }) => owner.service === service);
  const generations: Record<string, number> = {};
  for (const { owner, place } of mine)
    generations[place.provider] = Math.max(generations[place.provider] ?? 0, owner.generation);
  const places = [...new Map(mine.map(({ place }) => [nameOf(place), place])).values()];
  const type = estate.services[service]?.type;
  const record = ServiceRecord.parse({
    v: 1,
    estate: estate.name,
    service,
    ...(type && { type }),
    places,
    generations,
  });
  return rebuiltService(record, uid, orphans);
}
