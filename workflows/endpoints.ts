/**
 * The endpoint records of a deployment or a removal: looked at by the plan, written once the placements are there, taken back
 * before them. They tell where a service is, and hold nothing up: what is in the way of one is told, and the service is there
 * without it.
 */
import type { LoadedEstate } from '../activities/estate/load.ts';
import { durationMs } from '../model/duration.ts';
import { type Endpoint, type EndpointRecord, endpointName, sameEndpoints } from '../model/endpoint-record.ts';
import type { PlannedEndpoint, PlannedService } from '../model/operations.ts';
import type { RecordedPlacement, ServiceRecord } from '../model/record.ts';
import { applicationFailure, cloud, urgent } from './calls.ts';
import type { Operation } from './operation.ts';
import { reason } from './progress.ts';

const without = 'no endpoint record';
const stepOf = (service: string): string => `${service}/endpoint`;

/** Where each of these services' records stands, and what is in the way of writing one. */
export async function planEndpoints(
  { traffic, providers }: LoadedEstate['estate'],
  uid: string,
  accounts: Readonly<Record<string, string>>,
  records: Readonly<Record<string, ServiceRecord>>,
  services: readonly string[],
): Promise<{ endpoints: Record<string, PlannedEndpoint>; warnings: string[] }> {
  if (!traffic) return { endpoints: {}, warnings: [] };
  const { zone, dns: provider } = traffic;
  if (!providers.some(({ name, enabled }) => name === provider && enabled))
    return { endpoints: {}, warnings: [`no endpoint records: traffic.dns names ${provider}, which is not enabled`] };
  const at = { provider, account: accounts[provider] ?? '', zone };
  const look = cloud(provider, `endpoint records in ${zone}`);
  const { found, problems } = await look.inspectEndpointRecords({ at, uid, services });
  const ttlSeconds = durationMs(traffic.ttl) / 1000;
  const endpoints = Object.entries(found).map(([service, before]): [string, PlannedEndpoint] => {
    const current = records[service]?.placements.filter(({ role }) => role === 'current') ?? [];
    const wanted = current.flatMap(endpointOf);
    const record = wanted.length > 0 ? { uid, service, ttlSeconds, endpoints: wanted } : null;
    return [service, { at, uid, ttlSeconds, before, stale: record !== null && !sameEndpoints(record, before) }];
  });
  return {
    endpoints: Object.fromEntries(endpoints),
    warnings: problems.map((text) => `no endpoint record: ${text}`),
  };
}

/** Where readers and writers of a placement go; some have no address. */
export const endpointOf = ({ provider, region, endpoint: url }: RecordedPlacement): Endpoint[] =>
  url ? [{ provider, region, url }] : [];

/** Writes the record of a service whose placements are ready. */
export async function publishEndpoint(
  op: Operation,
  planned: PlannedService,
  placements: readonly RecordedPlacement[],
): Promise<void> {
  const { service, endpoint } = planned;
  const endpoints = placements.flatMap(endpointOf);
  if (!endpoint || endpoints.length === 0) return;
  const { at, uid, ttlSeconds } = endpoint;
  const name = endpointName({ service, zone: at.zone });
  op.saga.add({
    step: stepOf(service),
    orphan: { provider: at.provider, kind: 'dns.txt', name },
    undo: () => restoreEndpoint(planned),
  });
  const record: EndpointRecord = { uid, service, ttlSeconds, endpoints };
  const write = () => cloud(at.provider, `endpoint record ${name}`).writeEndpointRecord({ at, record });
  await op.board.step(
    stepOf(service),
    () =>
      unlessInTheWay(op, { name, without }, async () =>
        (await op.held(service, write)).changed ? `${name} written` : 'as it was',
      ),
    (detail) => detail,
  );
}

/** Brings the record to what the plan has found. */
export async function restoreEndpoint({ service, endpoint }: PlannedService): Promise<string> {
  if (!endpoint) return 'no endpoint record';
  const { at, uid, before } = endpoint;
  const act = urgent(at.provider, `endpoint record of ${service} as before`);
  const { changed } = before
    ? await act.writeEndpointRecord({ at, record: before })
    : await act.removeEndpointRecord({ at, service, uid });
  return changed ? 'endpoint record as before' : 'endpoint record unchanged';
}

/** Takes the record of a service away that is about to go. */
export async function withdrawEndpoint(
  op: Operation,
  { traffic, providers }: LoadedEstate['estate'],
  service: string,
  uid: string,
): Promise<void> {
  if (!traffic) return;
  const { zone, dns: provider } = traffic;
  if (!providers.some(({ name, enabled }) => name === provider && enabled)) return;
  const act = urgent(provider, `endpoint record of ${service}`);
  const remove = async () => {
    const account = await act.account({ provider });
    return act.removeEndpointRecord({ at: { provider, account, zone }, service, uid });
  };
  await op.board.step(
    stepOf(service),
    () =>
      unlessInTheWay(op, { name: endpointName({ service, zone }), without }, async () =>
        (await op.held(service, remove)).changed ? 'endpoint record taken away' : 'there was none',
      ),
    (detail) => detail,
  );
}

/** A zone that is not there, or somebody else's record under the name: told, with what there is not then, and nothing is done. */
export async function unlessInTheWay(
  op: Operation,
  { name, without }: { name: string; without: string },
  act: () => Promise<string>,
): Promise<string> {
  try {
    return await act();
  } catch (error) {
    const type = applicationFailure(error)?.type;
    if (type !== 'NotFound' && type !== 'NotOurs') throw error;
    op.board.record('run', without, `${name}: ${reason(error)}`);
    return `${without}: ${reason(error)}`;
  }
}
