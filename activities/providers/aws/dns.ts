/** TXT records in Route 53. A batch that deletes what was read and creates what is wanted is carried out whole or not at all. */
import { setTimeout } from 'node:timers/promises';
import {
  ChangeResourceRecordSetsCommand,
  GetChangeCommand,
  ListHostedZonesByNameCommand,
  ListResourceRecordSetsCommand,
  type ResourceRecordSet,
} from '@aws-sdk/client-route-53';
import { CloudError } from '../../../model/errors.ts';
import { quoted, unquoted } from '../../../model/txt.ts';
import type { DnsDriver, TxtRecords } from '../driver.ts';
import type { Clients } from './clients.ts';

/** The public zone of a name, and changes in it: each batch is carried out whole or not at all. */
export function hostedZones(clients: Clients, pollMs: number) {
  const idOf = async (zone: string, abortSignal: AbortSignal): Promise<string> => {
    const query = { DNSName: `${zone}.`, MaxItems: 20 };
    const { HostedZones = [] } = await clients.route53().send(new ListHostedZonesByNameCommand(query), { abortSignal });
    const named = HostedZones.filter(({ Name, Config }) => Name === `${zone}.` && !Config?.PrivateZone);
    const [only] = named;
    if (only?.Id && named.length === 1) return only.Id;
    const fields = { provider: 'aws', operation: 'route53:ListHostedZonesByName', resource: zone };
    if (only)
      throw new CloudError(
        { ...fields, kind: 'InvalidInput' },
        `the account has ${named.length} public zones of this name; delete those that the parent zone does not delegate to`,
      );
    throw new CloudError(
      { ...fields, kind: 'NotFound' },
      `the account has no public zone of this name. Make it with \`aws route53 create-hosted-zone --name ${zone} --caller-reference ${zone}\` and delegate to its name servers, or name another zone in \`traffic\``,
    );
  };

  return {
    idOf,

    /** Deletes the one, creates the other; returns once all name servers answer with it. */
    async change(
      zone: string,
      { before, after }: { before: readonly ResourceRecordSet[]; after: readonly ResourceRecordSet[] },
      abortSignal: AbortSignal,
    ): Promise<void> {
      const Changes = [
        ...before.map((set) => ({ Action: 'DELETE' as const, ResourceRecordSet: set })),
        ...after.map((set) => ({ Action: 'CREATE' as const, ResourceRecordSet: set })),
      ];
      const HostedZoneId = await idOf(zone, abortSignal);
      const command = new ChangeResourceRecordSetsCommand({ HostedZoneId, ChangeBatch: { Changes } });
      let { ChangeInfo } = await clients.route53().send(command, { abortSignal });
      while (ChangeInfo?.Status !== 'INSYNC') {
        await setTimeout(pollMs, undefined, { signal: abortSignal });
        ({ ChangeInfo } = await clients.route53().send(new GetChangeCommand({ Id: ChangeInfo?.Id }), { abortSignal }));
      }
    },
  };
}

export function route53(clients: Clients, pollMs: number): DnsDriver {
  const zones = hostedZones(clients, pollMs);

  const setOf = (name: string, { ttlSeconds, values }: Omit<TxtRecords, 'version'>): ResourceRecordSet => ({
    Name: `${name}.`,
    Type: 'TXT',
    TTL: ttlSeconds,
    ResourceRecords: values.map((value) => ({ Value: quoted(value) })),
  });

  return {
    async find({ zone, name }, abortSignal) {
      const HostedZoneId = await zones.idOf(zone, abortSignal);
      const query = { HostedZoneId, StartRecordName: `${name}.`, StartRecordType: 'TXT' as const, MaxItems: 1 };
      const { ResourceRecordSets = [] } = await clients
        .route53()
        .send(new ListResourceRecordSetsCommand(query), { abortSignal });
      const [found] = ResourceRecordSets;
      if (found?.Name !== `${name}.` || found.Type !== 'TXT') return undefined;
      const values = (found.ResourceRecords ?? []).map(({ Value = '' }) => unquoted(Value));
      return { ttlSeconds: found.TTL ?? 0, values, version: '' };
    },

    replace: ({ zone, name, before, after }, abortSignal) =>
      zones.change(
        zone,
        { before: before ? [setOf(name, before)] : [], after: after ? [setOf(name, after)] : [] },
        abortSignal,
      ),
  };
}
