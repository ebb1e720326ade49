/**
 * Weighted answers in Cloud DNS: one record set with a policy of weights, and a TXT record beside it that says whose it is and which
 * placement each of its targets belongs to. Both change in one step, which is carried out whole or not at all.
 */
import { isIPv4 } from 'node:net';
import { z } from 'zod';
import { WeightedRecord } from '../../../model/traffic.ts';
import { quoted, unquoted } from '../../../model/txt.ts';
import type { WeightsDriver } from '../driver.ts';
import type { Clients } from './clients.ts';
import { cloudZones } from './dns.ts';

const RecordSet = z.object({
  name: z.string(),
  type: z.string(),
  ttl: z.number(),
  rrdatas: z.array(z.string()).optional(),
  routingPolicy: z
    .object({
      wrr: z.object({ items: z.array(z.object({ weight: z.number(), rrdatas: z.array(z.string()) })) }).optional(),
    })
    .optional(),
});
type RecordSet = z.infer<typeof RecordSet>;
const RecordSets = z.object({ rrsets: z.array(RecordSet).default([]) });

const ownerName = (name: string): string => `_owner.${name}`;
const owner = ({ uid, service }: WeightedRecord, provider: string, host: string): string =>
  `v=mc1 uid=${uid} service=${service} provider=${provider} host=${host}`;

const data = (host: string): string => (isIPv4(host) ? host : `${host}.`);

const setsOf = (name: string, record: WeightedRecord): RecordSet[] => [
  {
    name: `${name}.`,
    type: record.targets.every(({ host }) => isIPv4(host)) ? 'A' : 'CNAME',
    ttl: record.ttlSeconds,
    routingPolicy: { wrr: { items: record.targets.map(({ weight, host }) => ({ weight, rrdatas: [data(host)] })) } },
  },
  {
    name: `${ownerName(name)}.`,
    type: 'TXT',
    ttl: record.ttlSeconds,
    rrdatas: record.targets.map(({ provider, host }) => quoted(owner(record, provider, host))),
  },
];

/** Undefined where they are not ours, or not what we make. */
function recordOf(weighted: RecordSet | undefined, owners: RecordSet | undefined): WeightedRecord | undefined {
  const named = (owners?.rrdatas ?? []).map((text) =>
    Object.fromEntries(
      unquoted(text)
        .split(' ')
        .map((word) => word.split(/=(.*)/s, 2)),
    ),
  );
  const [first] = named;
  if (named.some(({ v, uid, service }) => v !== 'mc1' || uid !== first?.uid || service !== first?.service))
    return undefined;
  const targets = (weighted?.routingPolicy?.wrr?.items ?? []).map(({ weight, rrdatas }) => {
    const [host = ''] = rrdatas.map((text) => text.replace(/\.$/, ''));
    return { provider: named.find((one) => one.host === host)?.provider, host, weight };
  });
  if (targets.length !== named.length) return undefined;
  const { uid, service } = first ?? {};
  return WeightedRecord.safeParse({ uid, service, ttlSeconds: weighted?.ttl, targets }).data;
}

export function weightedCloudDns(clients: Clients, pollMs: number): WeightsDriver {
  const zones = cloudZones(clients, pollMs);
  return {
    async find({ zone, name }, signal) {
      const under = async (one: string): Promise<RecordSet[]> => {
        const url = `${await zones.urlOf(zone, signal)}/rrsets?${new URLSearchParams({ name: `${one}.` })}`;
        return (await clients.rest.call('GET', url, { schema: RecordSets, signal })).rrsets;
      };
      const [sets, owners] = [await under(name), await under(ownerName(name))];
      if (sets.length + owners.length === 0) return undefined;
      const record = sets.length === 1 && owners.length === 1 ? recordOf(sets[0], owners[0]) : undefined;
      return { record, whole: true, version: '' };
    },

    replace: ({ zone, name, before, after }, signal) =>
      zones.change(
        zone,
        {
          deletions: before?.record ? setsOf(name, before.record) : [],
          additions: after ? setsOf(name, after) : [],
        },
        signal,
      ),
  };
}
