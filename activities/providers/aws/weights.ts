/** Weighted records in Route 53: one set a target, told apart by an identifier that says whose it is. A batch is carried out whole or not at all. */
import { isIPv4 } from 'node:net';
import { ListResourceRecordSetsCommand, type ResourceRecordSet } from '@aws-sdk/client-route-53';
import { type Target, WeightedRecord } from '../../../model/traffic.ts';
import type { WeightsDriver } from '../driver.ts';
import type { Clients } from './clients.ts';
import { hostedZones } from './dns.ts';

/** `mc1 <uid> <service> <provider>`: at most 128 characters. */
const identifier = ({ uid, service }: WeightedRecord, { provider }: Target): string =>
  `mc1 ${uid} ${service} ${provider}`;

const setsOf = (name: string, record: WeightedRecord): ResourceRecordSet[] =>
  record.targets.map((target) => ({
    Name: `${name}.`,
    Type: isIPv4(target.host) ? 'A' : 'CNAME',
    SetIdentifier: identifier(record, target),
    Weight: target.weight,
    TTL: record.ttlSeconds,
    ResourceRecords: [{ Value: target.host }],
  }));

/** Undefined where one of the sets is not ours, or not like the others. */
function recordOf(sets: readonly ResourceRecordSet[]): WeightedRecord | undefined {
  const parsed = sets.map(({ SetIdentifier = '', Weight, TTL, ResourceRecords = [] }) => {
    const [version, uid, service, provider] = SetIdentifier.split(' ');
    const [only] = ResourceRecords;
    return version === 'mc1' && ResourceRecords.length === 1
      ? { uid, service, ttlSeconds: TTL, target: { provider, host: only?.Value, weight: Weight } }
      : undefined;
  });
  const [first] = parsed;
  const alike = parsed.every(
    (one) => one?.uid === first?.uid && one?.service === first?.service && one?.ttlSeconds === first?.ttlSeconds,
  );
  if (!first || !alike) return undefined;
  const { uid, service, ttlSeconds } = first;
  return WeightedRecord.safeParse({ uid, service, ttlSeconds, targets: parsed.map((one) => one?.target) }).data;
}

export function weightedRoute53(clients: Clients, pollMs: number): WeightsDriver {
  const zones = hostedZones(clients, pollMs);
  return {
    async find({ zone, name }, abortSignal) {
      const HostedZoneId = await zones.idOf(zone, abortSignal);
      const query = { HostedZoneId, StartRecordName: `${name}.`, MaxItems: 100 };
      const { ResourceRecordSets = [] } = await clients
        .route53()
        .send(new ListResourceRecordSetsCommand(query), { abortSignal });
      const sets = ResourceRecordSets.filter(({ Name }) => Name === `${name}.`);
      return sets.length > 0 ? { record: recordOf(sets), whole: true, version: '' } : undefined;
    },

    replace: ({ zone, name, before, after }, abortSignal) =>
      zones.change(
        zone,
        {
          before: before?.record ? setsOf(name, before.record) : [],
          after: after ? setsOf(name, after) : [],
        },
        abortSignal,
      ),
  };
}
