/**
 * Weighted answers by Azure Traffic Manager: a profile with one endpoint a target, and a CNAME in the zone that leads to it. The
 * profile is changed in one call, but not under a condition: Traffic Manager has no etags, so what was read may be written over.
 */
import type { Profile } from '@azure/arm-trafficmanager';
import { serviceLabel } from '../../../model/endpoint-record.ts';
import { ownerTags } from '../../../model/names.ts';
import { sha256Hex } from '../../../model/sha256.ts';
import { inOrder, WeightedRecord } from '../../../model/traffic.ts';
import type { WeightedName, WeightsDriver } from '../driver.ts';
import type { AzureClients } from './clients.ts';
import { recordIn } from './dns.ts';
import { found } from './errors.ts';

/** Where profiles answer. */
const domain = 'trafficmanager.net';
type Marked = Readonly<Record<string, string | undefined>> | undefined;

/** Unique in all of Azure, and the same each time. */
const profileName = ({ account, zone, uid, service }: WeightedName): string =>
  `front-${serviceLabel(service)}-${sha256Hex([account, zone, uid, service].join('\n')).slice(0, 12)}`;

/** Its own probes are off: what is steered is decided by weights alone, as in the other clouds. */
const profileOf = ({ uid, service, ttlSeconds, targets }: WeightedRecord, relativeName: string): Profile => ({
  location: 'global',
  tags: { [ownerTags.uid]: uid, [ownerTags.service]: service },
  trafficRoutingMethod: 'Weighted',
  dnsConfig: { relativeName, ttl: ttlSeconds },
  monitorConfig: { protocol: 'TCP', port: 443 },
  endpoints: targets.map(({ provider, host, weight }) => ({
    name: provider,
    type: 'Microsoft.Network/trafficManagerProfiles/externalEndpoints',
    target: host,
    weight: Math.max(weight, 1),
    endpointStatus: weight > 0 ? 'Enabled' : 'Disabled',
    alwaysServe: 'Enabled',
  })),
});

/** Undefined where it is not ours, or not what we make. */
const recordOf = ({ tags, dnsConfig, endpoints = [] }: Profile): WeightedRecord | undefined =>
  WeightedRecord.safeParse({
    uid: tags?.[ownerTags.uid],
    service: tags?.[ownerTags.service],
    ttlSeconds: dnsConfig?.ttl,
    targets: inOrder(
      endpoints.map(({ name = '', target = '', weight = 0, endpointStatus }) => ({
        provider: name,
        host: target,
        weight: endpointStatus === 'Disabled' ? 0 : weight,
      })),
    ),
  }).data;

const isMarked = (metadata: Marked, { uid, service }: WeightedName): boolean =>
  metadata?.[ownerTags.uid] === uid && metadata[ownerTags.service] === service;

export function trafficManager(clients: AzureClients): WeightsDriver {
  return {
    async find(at, abortSignal) {
      const where = await recordIn(clients, at, abortSignal);
      const [group] = where;
      const relative = profileName(at);
      const { profiles } = clients.trafficManager(at.account);
      const alias = await found(() => clients.dns(at.account).recordSets.get(...where, 'CNAME', { abortSignal }));
      const profile = await found(() => profiles.get(group, relative, { abortSignal }));
      if (!alias && !profile) return undefined;
      const leads = alias?.cnameRecord?.cname === `${relative}.${domain}` && isMarked(alias.metadata, at);
      if (alias && !leads) return { record: undefined, whole: true, version: '' };
      // A CNAME of ours without its profile is one that was taken away half-way.
      if (!profile)
        return {
          record: { uid: at.uid, service: at.service, ttlSeconds: alias?.ttl ?? 0, targets: [] },
          whole: false,
          version: alias?.etag ?? '',
        };
      const whole = leads && alias?.ttl === profile.dnsConfig?.ttl;
      return { record: recordOf(profile), whole, version: alias?.etag ?? '' };
    },

    async replace({ before, after, ...at }, abortSignal) {
      const where = await recordIn(clients, at, abortSignal);
      const [group] = where;
      const relative = profileName(at);
      const { profiles } = clients.trafficManager(at.account);
      const { recordSets } = clients.dns(at.account);
      const version = before?.version;
      if (!after) {
        if (version) await recordSets.delete(...where, 'CNAME', { ifMatch: version, abortSignal });
        await profiles.delete(group, relative, { abortSignal });
        return;
      }
      await profiles.createOrUpdate(group, relative, profileOf(after, relative), { abortSignal });
      if (before?.whole && before.record?.ttlSeconds === after.ttlSeconds) return;
      const alias = {
        ttl: after.ttlSeconds,
        cnameRecord: { cname: `${relative}.${domain}` },
        metadata: { [ownerTags.uid]: after.uid, [ownerTags.service]: after.service },
      };
      const condition = version ? { ifMatch: version } : { ifNoneMatch: '*' };
      await recordSets.createOrUpdate(...where, 'CNAME', alias, { ...condition, abortSignal });
    },
  };
}
