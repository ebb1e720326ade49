/** `checkEstate`: looks at every cloud and every record, and says what is the matter and what to do. Takes no lock. */
import * as wf from '@temporalio/workflow';
import { CheckEstateInput, type EstateCheck } from '../model/operations.ts';
import type { Place, ServiceRecord } from '../model/record.ts';
import type { Owner } from '../model/service.ts';
import { applicationFailure, cloud, control, failure } from './calls.ts';
import { standingFences } from './fences.ts';
import { Board, reason } from './progress.ts';
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
  const orphans = await board.step('orphans', () => scan(owner, Object.values(records), reached));
  const fenced = await board.step('fences', () => fences(owner, Object.values(records), reached));
  const services = Object.values(records).map((record) => {
    const judged = judge(record);
    const problem = fenced[record.service];
    return judged.problem || !problem
      ? judged
      : { ...judged, problem, command: `multi-cloud recover ${record.service}` };
  });
  return { estate: estate.name, clouds, services, orphans };
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

async function reach(provider: string): Promise<EstateCheck['clouds'][number]> {
  try {
    return { provider, account: await cloud(provider, `account of ${provider}`).account({ provider }), problem: '' };
  } catch (error) {
    if (!applicationFailure(error)) throw error;
    return { provider, account: '', problem: reason(error) };
  }
}

function judge({
  service,
  status,
  waitingFor,
  holder,
  intents,
  orphans,
}: ServiceRecord): EstateCheck['services'][number] {
  const held = holder ? ` by ${holder.operation} (${holder.workflowId})` : '';
  const says = (problem: string, command: string) => ({ service, status, problem, command });
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
  const orphans = found.flat().filter(({ service }) => !records.some((one) => one.service === service && one.holder));
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
