/**
 * TXT records in Azure DNS, changed under their etags. Azure does not tell when all of its name servers have a change; they do
 * within 60 seconds (https://learn.microsoft.com/azure/dns/dns-faq, 2026-11-28).
 */
import type { Zone } from '@azure/arm-dns';
import { CloudError } from '../../../model/errors.ts';
import { txtStrings } from '../../../model/txt.ts';
import type { DnsDriver, TxtName } from '../driver.ts';
import type { AzureClients } from './clients.ts';
import { found } from './errors.ts';

/** Resource group, zone and the record's name in it, as the client takes them. */
export async function recordIn(
  clients: AzureClients,
  { account, zone, name }: TxtName,
  abortSignal: AbortSignal,
): Promise<[group: string, zone: string, name: string]> {
  const named: Zone[] = [];
  for await (const one of clients.dns(account).zones.list({ abortSignal }))
    if (one.name?.toLowerCase() === zone && one.zoneType !== 'Private') named.push(one);
  const group = /\/resourceGroups\/([^/]+)\//i.exec(named[0]?.id ?? '')?.[1];
  if (group && named.length === 1) return [group, zone, name.slice(0, -zone.length - 1)];
  const fields = { provider: 'azure', operation: 'list DNS zones', resource: zone };
  if (group)
    throw new CloudError(
      { ...fields, kind: 'InvalidInput' },
      `the subscription has ${named.length} zones of this name; delete those that the parent zone does not delegate to`,
    );
  throw new CloudError(
    { ...fields, kind: 'NotFound' },
    `the subscription has no zone of this name. Make it with \`az network dns zone create --resource-group <group> --name ${zone}\` and delegate to its name servers, or name another zone in \`traffic\``,
  );
}

export function azureDns(clients: AzureClients): DnsDriver {
  return {
    async find(at, abortSignal) {
      const where = await recordIn(clients, at, abortSignal);
      const seen = await found(() => clients.dns(at.account).recordSets.get(...where, 'TXT', { abortSignal }));
      if (!seen) return undefined;
      const values = (seen.txtRecords ?? []).map(({ value = [] }) => value.join(''));
      return { ttlSeconds: seen.ttl ?? 0, values, version: seen.etag ?? '' };
    },

    async replace({ before, after, ...at }, abortSignal) {
      const where = await recordIn(clients, at, abortSignal);
      const { recordSets } = clients.dns(at.account);
      if (after) {
        const records = {
          ttl: after.ttlSeconds,
          txtRecords: after.values.map((value) => ({ value: txtStrings(value) })),
        };
        const condition = before ? { ifMatch: before.version } : { ifNoneMatch: '*' };
        await recordSets.createOrUpdate(...where, 'TXT', records, { ...condition, abortSignal });
      } else if (before) await recordSets.delete(...where, 'TXT', { ifMatch: before.version, abortSignal });
    },
  };
}
