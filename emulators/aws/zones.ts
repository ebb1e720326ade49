/** What Route 53 holds, for the name server: asked of MiniStack over its own API. */
import {
  CreateHostedZoneCommand,
  ListHostedZonesCommand,
  ListResourceRecordSetsCommand,
  type ResourceRecordSet,
  Route53Client,
} from '@aws-sdk/client-route-53';
import { quotedStrings } from '../../model/txt.ts';
import { byWeight, type Lookup, type RecordSet } from '../dns-server.ts';

/** Of the weighted sets of each type, one by their weights. */
function weighted(sets: readonly ResourceRecordSet[]): ResourceRecordSet[] {
  const byType = Map.groupBy(
    sets.filter(({ Weight }) => Weight !== undefined),
    ({ Type }) => Type,
  );
  return [...byType.values()].flatMap(
    (some) => byWeight(some.map((item) => ({ weight: item.Weight ?? 0, item }))) ?? [],
  );
}

/** Makes the zone where it is missing. `endpoint`: address of MiniStack. */
export async function route53Zones({ endpoint, zone }: { endpoint: string; zone: string }): Promise<Lookup> {
  const client = new Route53Client({
    endpoint,
    region: 'us-east-1',
    credentials: { accessKeyId: 'local', secretAccessKey: 'local' },
  });
  const zones = async (): Promise<{ id: string; name: string }[]> => {
    const { HostedZones = [] } = await client.send(new ListHostedZonesCommand({}));
    return HostedZones.map(({ Id = '', Name = '' }) => ({ id: Id, name: Name.replace(/\.$/, '') }));
  };
  if (!(await zones()).some(({ name }) => name === zone))
    await client.send(new CreateHostedZoneCommand({ Name: zone, CallerReference: zone }));

  return async (name) => {
    const [own] = (await zones())
      .filter((one) => name === one.name || name.endsWith(`.${one.name}`))
      .toSorted((a, b) => b.name.length - a.name.length);
    if (!own) return undefined;
    const query = { HostedZoneId: own.id, StartRecordName: `${name}.` };
    const { ResourceRecordSets = [] } = await client.send(new ListResourceRecordSetsCommand(query));
    const all = ResourceRecordSets.filter(({ Name }) => Name === `${name}.`);
    const sets = [...all.filter(({ Weight }) => Weight === undefined), ...weighted(all)].flatMap<RecordSet>(
      ({ Type, TTL: ttlSeconds = 0, ResourceRecords = [] }) => {
        const values = ResourceRecords.map(({ Value = '' }) => Value);
        if (Type === 'TXT') return [{ type: Type, ttlSeconds, values: values.map(quotedStrings) }];
        return Type === 'A' || Type === 'AAAA' || Type === 'CNAME' ? [{ type: Type, ttlSeconds, values }] : [];
      },
    );
    return { zone: own.name, sets };
  };
}
