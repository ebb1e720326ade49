/** `Microsoft.Network/dnsZones` (version 2018-05-01): public zones and their record sets of the types that are served. */
import { z } from 'zod';
import type { Lookup, RecordSet } from '../../dns-server.ts';
import { accept, asObject, Refusal } from './accept.ts';
import type { ArmCore } from './core.ts';
import type { ArmKind, ArmReader } from './kind.ts';
import { resourceGroupKind } from './resource-groups.ts';
import { trafficManagerSets } from './traffic-manager.ts';

const zoneType = 'Microsoft.Network/dnsZones';

const Zone = z.strictObject({ zoneType: z.literal('Public').default('Public') });
const base = {
  TTL: z.int().min(1).max(2_147_483_647),
  metadata: z.record(z.string(), z.string()).optional(),
};
const Txt = z.strictObject({
  ...base,
  TXTRecords: z
    .array(z.strictObject({ value: z.array(z.string().max(255)).min(1) }))
    .min(1)
    .max(20),
});
const A = z.strictObject({ ...base, ARecords: z.array(z.strictObject({ ipv4Address: z.ipv4() })).min(1) });
const Aaaa = z.strictObject({ ...base, AAAARecords: z.array(z.strictObject({ ipv6Address: z.ipv6() })).min(1) });
const Cname = z.strictObject({ ...base, CNAMERecord: z.strictObject({ cname: z.string() }) });
const schemas = { TXT: Txt, A, AAAA: Aaaa, CNAME: Cname };
const types = ['TXT', 'A', 'AAAA', 'CNAME'] as const;
const readOnly = ['fqdn', 'provisioningState', 'targetResource'];

export const dnsKinds: ArmKind[] = [
  {
    type: zoneType,
    tracked: true,
    statuses: { created: 201, updated: 200, deleted: 202 },
    longRunning: false,
    ifMatch: false,
    global: false,
    make: ({ name, body }) => {
      if (!/^(?=.{1,253}$)([a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?\.)+[a-z]{2,63}$/i.test(name))
        throw new Refusal(400, 'InvalidZoneName', `The domain name '${name}' is invalid.`);
      const given = accept(Zone, asObject(body.properties), [
        'nameServers',
        'numberOfRecordSets',
        'maxNumberOfRecordSets',
      ]);
      return { properties: { ...given, nameServers: [`ns1.${name}.`], maxNumberOfRecordSets: 10_000 } };
    },
  },
  ...types.map(
    (type): ArmKind => ({
      type: `${zoneType}/${type}`,
      tracked: false,
      statuses: { created: 201, updated: 200, deleted: 200 },
      longRunning: false,
      ifMatch: false,
      global: false,
      make: ({ name, body, parents }) => {
        const [zone] = parents;
        if (!zone) throw new Refusal(404, 'ParentResourceNotFound', 'The DNS zone was not found.');
        const given = accept<object>(schemas[type], asObject(body.properties), readOnly);
        return { properties: { ...given, fqdn: `${name}.${zone.name}.`, provisioningState: 'Succeeded' } };
      },
    }),
  ),
];

/** Makes the zone where there is none of its name. */
export async function ensureZone(core: ArmCore, zone: string): Promise<void> {
  const { store, subscription } = core.settings;
  if ([...store.list(zoneType)].some(({ name }) => name === zone)) return;
  const group = `/subscriptions/${subscription}/resourceGroups/dns`;
  const kind = core.kind(zoneType);
  await core.inTurn(() => core.put(group, 'dns', resourceGroupKind, { location: 'westus2' }, {}));
  if (kind)
    await core.inTurn(() => core.put(`${group}/providers/${zoneType}/${zone}`, zone, kind, { location: 'global' }, {}));
}

/** For the name server. */
export const azureZones =
  (arm: ArmReader): Lookup =>
  async (name) => {
    const steered = trafficManagerSets(arm, name);
    if (steered) return steered;
    const [zone] = [...arm.list(zoneType)]
      .filter((one) => name.endsWith(`.${one.name.toLowerCase()}`))
      .toSorted((a, b) => b.name.length - a.name.length);
    if (!zone) return undefined;
    const record = name.slice(0, -zone.name.length - 1);
    const sets = types.flatMap<RecordSet>((type) => {
      const found = arm.get(`${zone.id}/${type}/${record}`);
      if (!found) return [];
      const known = Object.fromEntries(Object.entries(found.properties).filter(([key]) => !readOnly.includes(key)));
      return [recordSet(type, known)];
    });
    return { zone: zone.name, sets };
  };

function recordSet(type: (typeof types)[number], properties: object): RecordSet {
  switch (type) {
    case 'TXT': {
      const { TTL, TXTRecords } = Txt.parse(properties);
      return { type, ttlSeconds: TTL, values: TXTRecords.map(({ value }) => value) };
    }
    case 'A': {
      const { TTL, ARecords } = A.parse(properties);
      return { type, ttlSeconds: TTL, values: ARecords.map(({ ipv4Address }) => ipv4Address) };
    }
    case 'AAAA': {
      const { TTL, AAAARecords } = Aaaa.parse(properties);
      return { type, ttlSeconds: TTL, values: AAAARecords.map(({ ipv6Address }) => ipv6Address) };
    }
    case 'CNAME': {
      const { TTL, CNAMERecord } = Cname.parse(properties);
      return { type, ttlSeconds: TTL, values: [CNAMERecord.cname] };
    }
  }
}
