/** TXT records in Cloud DNS. A change that deletes what was read and adds what is wanted is carried out whole or not at all. */
import { setTimeout } from 'node:timers/promises';
import { z } from 'zod';
import { CloudError } from '../../../model/errors.ts';
import { quoted, unquoted } from '../../../model/txt.ts';
import type { DnsDriver, TxtRecords } from '../driver.ts';
import type { Clients } from './clients.ts';

const Zones = z.object({
  managedZones: z.array(z.object({ name: z.string(), visibility: z.string().default('public') })).default([]),
});
const RecordSets = z.object({
  rrsets: z.array(z.object({ ttl: z.number(), rrdatas: z.array(z.string()) })).default([]),
});
const Change = z.object({ id: z.string(), status: z.enum(['pending', 'done']) });

/** The public zone of a name, and changes in it: each is carried out whole or not at all. */
export function cloudZones({ rest, project }: Clients, pollMs: number) {
  const zonesUrl = `https://dns.googleapis.com/dns/v1/projects/${project}/managedZones`;

  const urlOf = async (zone: string, signal: AbortSignal): Promise<string> => {
    const url = `${zonesUrl}?${new URLSearchParams({ dnsName: `${zone}.` })}`;
    const { managedZones } = await rest.call('GET', url, { schema: Zones, signal });
    const named = managedZones.filter(({ visibility }) => visibility === 'public');
    const [only] = named;
    if (only && named.length === 1) return `${zonesUrl}/${only.name}`;
    const fields = { provider: 'gcp', operation: 'dns.managedZones.list', resource: zone };
    if (only)
      throw new CloudError(
        { ...fields, kind: 'InvalidInput' },
        `the project has ${named.length} public zones of this name; delete those that the parent zone does not delegate to`,
      );
    throw new CloudError(
      { ...fields, kind: 'NotFound' },
      `the project has no public zone of this name. Make it with \`gcloud dns managed-zones create ${zone.replaceAll('.', '-')} --dns-name=${zone}. --description=endpoints\` and delegate to its name servers, or name another zone in \`traffic\``,
    );
  };

  return {
    urlOf,

    /** Returns once the name servers answer with it. */
    async change(zone: string, body: { deletions: object[]; additions: object[] }, signal: AbortSignal): Promise<void> {
      const url = `${await urlOf(zone, signal)}/changes`;
      let change = await rest.call('POST', url, { body, schema: Change, signal });
      while (change.status !== 'done') {
        await setTimeout(pollMs, undefined, { signal });
        change = await rest.call('GET', `${url}/${change.id}`, { schema: Change, signal });
      }
    },
  };
}

export function cloudDns(clients: Clients, pollMs: number): DnsDriver {
  const { rest } = clients;
  const zones = cloudZones(clients, pollMs);
  const setOf = (name: string, { ttlSeconds, values }: Omit<TxtRecords, 'version'>) => ({
    name: `${name}.`,
    type: 'TXT',
    ttl: ttlSeconds,
    rrdatas: values.map(quoted),
  });

  return {
    async find({ zone, name }, signal) {
      const query = new URLSearchParams({ name: `${name}.`, type: 'TXT' });
      const url = `${await zones.urlOf(zone, signal)}/rrsets?${query}`;
      const [found] = (await rest.call('GET', url, { schema: RecordSets, signal })).rrsets;
      return found && { ttlSeconds: found.ttl, values: found.rrdatas.map(unquoted), version: '' };
    },

    replace: ({ zone, name, before, after }, signal) =>
      zones.change(
        zone,
        {
          deletions: before ? [setOf(name, before)] : [],
          additions: after ? [setOf(name, after)] : [],
        },
        signal,
      ),
  };
}
