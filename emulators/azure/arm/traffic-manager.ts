/** `Microsoft.Network/trafficManagerProfiles` (version 2022-04-01): profiles that spread by weight over endpoints outside Azure; probes nothing. */
import { isIPv4 } from 'node:net';
import { z } from 'zod';
import { byWeight, type RecordSet } from '../../dns-server.ts';
import { accept, asObject, Refusal } from './accept.ts';
import type { ArmKind, ArmReader } from './kind.ts';
import { keyOf } from './resource-id.ts';

const type = 'Microsoft.Network/trafficManagerProfiles';
const domain = 'trafficmanager.net';
const name = z.string().regex(/^[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?$/);

const Endpoint = z.strictObject({
  id: z.string().optional(),
  name: z.string().min(1).max(260),
  type: z.string().refine((text) => text.toLowerCase() === `${type}/externalEndpoints`.toLowerCase()),
  properties: z.strictObject({
    target: z.string().min(1).max(253),
    endpointStatus: z.enum(['Enabled', 'Disabled']).default('Enabled'),
    weight: z.int().min(1).max(1000).default(1),
    alwaysServe: z.enum(['Enabled', 'Disabled']).default('Disabled'),
    endpointMonitorStatus: z.string().optional(),
  }),
});
const Profile = z.strictObject({
  profileStatus: z.enum(['Enabled', 'Disabled']).default('Enabled'),
  trafficRoutingMethod: z.literal('Weighted'),
  dnsConfig: z.strictObject({
    relativeName: name,
    ttl: z.int().min(0).max(2_147_483_647),
    fqdn: z.string().optional(),
  }),
  monitorConfig: z.strictObject({
    profileMonitorStatus: z.string().optional(),
    protocol: z.enum(['HTTP', 'HTTPS', 'TCP']),
    port: z.int().min(1).max(65_535),
    path: z.string().nullish(),
    intervalInSeconds: z.union([z.literal(10), z.literal(30)]).default(30),
    timeoutInSeconds: z.int().min(5).max(10).default(10),
    toleratedNumberOfFailures: z.int().min(0).max(9).default(3),
  }),
  endpoints: z.array(Endpoint).max(200).default([]),
});

export const trafficManagerKinds: ArmKind[] = [
  {
    type,
    tracked: true,
    statuses: { created: 201, updated: 200, deleted: 200 },
    longRunning: false,
    ifMatch: false,
    global: false,
    make: ({ id, body, list }) => {
      const given = accept(Profile, asObject(body.properties), [
        'trafficViewEnrollmentStatus',
        'maxReturn',
        'allowedEndpointRecordTypes',
      ]);
      const { relativeName } = given.dnsConfig;
      for (const other of list(type))
        if (keyOf(other.id) !== keyOf(id) && Profile.parse(other.properties).dnsConfig.relativeName === relativeName)
          throw new Refusal(
            409,
            'Conflict',
            `Domain name ${relativeName}.${domain} already exists. Please choose a different DNS prefix.`,
          );
      const targets = given.endpoints.map(({ properties }) => properties.target.toLowerCase());
      if (new Set(targets).size < targets.length)
        throw new Refusal(400, 'BadRequest', 'Some of the endpoints in the request have the same target.');
      return {
        properties: {
          ...given,
          dnsConfig: { ...given.dnsConfig, fqdn: `${relativeName}.${domain}` },
          endpoints: given.endpoints.map((one) => ({
            ...one,
            id: `${id}/externalEndpoints/${one.name}`,
            type: `${type}/externalEndpoints`,
            properties: {
              ...one.properties,
              endpointMonitorStatus: one.properties.endpointStatus === 'Disabled' ? 'Disabled' : 'Unmonitored',
            },
          })),
        },
      };
    },
  },
];

/** What a profile answers under its own name; undefined where there is none. */
export function trafficManagerSets(arm: ArmReader, asked: string): { zone: string; sets: RecordSet[] } | undefined {
  if (!asked.endsWith(`.${domain}`)) return undefined;
  const profiles = [...arm.list(type)].map(({ properties }) => Profile.parse(properties));
  const profile = profiles.find(({ dnsConfig }) => dnsConfig.fqdn?.toLowerCase() === asked);
  const endpoints = profile?.endpoints.filter(({ properties }) => properties.endpointStatus === 'Enabled') ?? [];
  const chosen = byWeight(endpoints.map(({ properties }) => ({ weight: properties.weight, item: properties.target })));
  if (!profile || chosen === undefined) return { zone: domain, sets: [] };
  const ttlSeconds = profile.dnsConfig.ttl;
  return { zone: domain, sets: [{ type: isIPv4(chosen) ? 'A' : 'CNAME', ttlSeconds, values: [chosen] }] };
}
