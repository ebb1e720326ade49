/** `checkEstate`: looks at every cloud and every record, and says what is the matter and what to do. Takes no lock. */
import * as wf from '@temporalio/workflow';
import type { Estate } from '../model/estate.ts';
import { CheckEstateInput, type EstateCheck } from '../model/operations.ts';
import { isAtWork, type Place, type ServiceRecord } from '../model/record.ts';
import { isRecords } from '../model/records.ts';
import type { Owner } from '../model/service.ts';
import { applicationFailure, cloud, control, failure } from './calls.ts';
import { standingFences } from './fences.ts';
import { Board, reason } from './progress.ts';
import { anywhere, servicesOf } from './rebuild-estate.ts';
import { searchAttributes } from './search-attributes.ts';

type EstateOwner = Pick<Owner, 'estate' | 'uid' | 'controller'>;

export async function checkEstate(raw: unknown): Promise<EstateCheck> {
  const board = new Board();
  const parsed = CheckEstateInput.safeParse(raw ?? {});
  if (!parsed.success)
    throw failure(
      'InvalidInput',
      parsed.error.issues.map(({ path, message }) => `${path.join('.') || 'input'}: ${message}`).join('; '),
    );
  const { estate } = await board.step('load', () => control.loadEstate({ estate: parsed.data.estate }));
  wf.upsertSearchAttributes([{ key: searchAttributes.estate, value: estate.name }]);
  const enabled = estate.providers.filter((provider) => provider.enabled);
  const clouds = await board.step('clouds', () => Promise.all(enabled.map(({ name }) => reach(name))));
  const records = await board.step('records', () => control.readServices({ estate: estate.name }));
  const reached = clouds.filter(({ problem }) => problem === '').map(({ provider }) => provider);
  const { uid, controller } = await control.openEstate({ estate: estate.name });
  const owner = { estate: estate.name, uid, controller };
  const all = Object.values(records);
  const orphans = await board.step('orphans', () => scan(owner, all, reached));
  const fenced = await board.step('fences', () => fences(owner, all, reached));
  const known = await control.readEstate({ estate: estate.name });
  const empty = all.every(({ placements }) => placements.length === 0);
  const lost = empty ? await board.step('lost records', () => lostEstates(estate, uid, clouds)) : [];
  const unconfirmed = known?.unconfirmed ? known.uid : undefined;
  const services = all.map((record) => {
    const judged = judge(record, unconfirmed);
    const problem = fenced[record.service];
    return judged.problem || !problem
      ? judged
      : { ...judged, problem, command: `multi-cloud recover ${record.service}` };
  });
  return { estate: estate.name, clouds, services, orphans, lost };
}

/** By service: fences around stores of clouds that answer, where no operation is at work. */
async function fences(
  owner: EstateOwner,
  records: readonly ServiceRecord[],
  reached: readonly string[],
): Promise<Record<string, string>> {
  const idle = records.filter(
    ({ holder, placements }) => !holder && placements.every(({ provider }) => reached.includes(provider)),
  );
  const found = await Promise.all(
    idle.map(async (record) => {
      const [standing] = await standingFences({ ...owner, service: record.service }, record);
      if (!standing) return [];
      const { placement, fence } = standing;
      const text = `writers are refused on ${placement.provider} by a fence of ${fence.owner.workflowId} until ${fence.expiresAt}, and no operation is at work`;
      return [[record.service, text]];
    }),
  );
  return Object.fromEntries(found.flat());
}

/** Where nothing runs as far as Temporal knows: what the clouds hold of other estates of this name. Its database may be new. */
async function lostEstates(
  estate: Estate,
  uid: string,
  clouds: EstateCheck['clouds'],
): Promise<NonNullable<EstateCheck['lost']>> {
  const found = await Promise.all(
    (await control.searchPlaces({ estate })).map((place) => {
      const { provider, region } = place;
      const account = clouds.find((one) => one.provider === provider)?.account;
      if (!account) return [];
      const placement = anywhere({ ...place, account }, estate.name, '');
      return cloud(provider, `search ${provider} ${region}`).findOwned({ placement });
    }),
  );
  const others = found.flat().filter(({ owner }) => owner.uid !== uid && !isRecords(owner.service));
  return [...Map.groupBy(others, ({ owner }) => owner.uid)].map(([other, all]) => ({
    uid: other,
    resources: new Set(all.map(({ kind, id }) => `${kind} ${id}`)).size,
    services: servicesOf(all),
  }));
}

async function reach(provider: string): Promise<EstateCheck['clouds'][number]> {
  try {
    return { provider, account: await cloud(provider, `account of ${provider}`).account({ provider }), problem: '' };
  } catch (error) {
    if (!applicationFailure(error)) throw error;
    return { provider, account: '', problem: reason(error) };
  }
}

/** `unconfirmed`: the estate's UID where its records were rebuilt and nobody has confirmed them. */
function judge(
  { service, status, waitingFor, holder, intents, orphans }: ServiceRecord,
  unconfirmed: string | undefined,
): EstateCheck['services'][number] {
  const held = holder ? ` by ${holder.operation} (${holder.workflowId})` : '';
  const says = (problem: string, command: string) => ({ service, status, problem, command });
  if (unconfirmed !== undefined)
    return says(
      'its record was rebuilt and is read-only until it is confirmed',
      `multi-cloud recover --confirm ${unconfirmed}`,
    );
  if (status === 'blocked') return says(`blocked${held}: ${waitingFor}`, `multi-cloud retry ${service}`);
  if (status === 'needs-operator')
    return says(`needs an operator${held}: ${waitingFor}`, `multi-cloud retry ${service} --compensation`);
  if (!holder && intents.length > 0)
    return says(
      `a ${intents[0]?.operation} was interrupted (${intents[0]?.workflowId})`,
      `multi-cloud recover ${service}`,
    );
  if (!holder && orphans.length > 0)
    return says(`left behind: ${orphans.map(({ name }) => name).join(', ')}`, `multi-cloud recover ${service}`);
  if (status === 'degraded') return says('not healthy', 'multi-cloud deploy');
  return says('', '');
}

/** What carries the estate's tags, wherever a service has ever been, and stands in no record. Notes it in the records. */
async function scan(
  owner: EstateOwner,
  records: readonly ServiceRecord[],
  reached: readonly string[],
): Promise<EstateCheck['orphans']> {
  const places = new Map<string, Place>();
  for (const record of records)
    for (const place of record.places)
      if (reached.includes(place.provider)) places.set(`${place.provider} ${place.region} ${place.account}`, place);
  const found = await Promise.all(
    [...places.values()].map(async (place) => {
      const { provider } = place;
      const known = records.flatMap((record) => knownOn(record, provider));
      const everything = { ...owner, service: '', generation: 1 };
      const placement = { ...place, type: 'storage' as const, configuration: {}, owner: everything };
      const strays = await cloud(provider, `scan ${provider} ${place.region}`).findStrays({
        placement,
        known,
        everyService: true,
      });
      return strays.map(({ service, kind, name }) => ({
        service,
        provider,
        kind,
        name,
        reason: `found in ${place.region}; no record knows it`,
      }));
    }),
  );
  const orphans = found
    .flat()
    .filter((stray) => !records.some((one) => one.service === stray.service && (one.holder || isAtWork(one, stray))));
  for (const { service, holder, orphans: listed } of records) {
    const mine = orphans.filter((one) => one.service === service).map(({ service: _, ...orphan }) => orphan);
    if (holder || (mine.length === 0 && listed.length === 0)) continue;
    await control.noteOrphans({ estate: owner.estate, service, orphans: mine });
  }
  return orphans;
}

const knownOn = (record: ServiceRecord, provider: string) =>
  [...record.placements, ...record.intents.map(({ placement }) => placement)]
    .filter((one) => one.provider === provider)
    .flatMap(({ resources }) => resources.map(({ kind, name, id }) => ({ kind, name, id })));
