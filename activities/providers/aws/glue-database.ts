/** The catalogue of a data lake: a Glue database whose tables lie in the bucket. */
import {
  CreateDatabaseCommand,
  DeleteDatabaseCommand,
  GetDatabaseCommand,
  GetDatabasesCommand,
  GetTagsCommand,
  TagResourceCommand,
  UpdateDatabaseCommand,
} from '@aws-sdk/client-glue';
import { resourceName } from '../../../model/names.ts';
import type { Placement, ResourceSpec } from '../../../model/service.ts';
import type { Call, ResourceDriver } from '../driver.ts';
import type { Clients } from './clients.ts';
import { gone, ifFound } from './errors.ts';
import { allPages, desiredTags, eachOf, foundBy, ownership, tagsOf } from './tags.ts';

const databaseKind = 'aws.glue.database';

export const databaseSpec = (placement: Placement, bucket: string): ResourceSpec => ({
  key: 'catalogue',
  kind: databaseKind,
  // Athena reads names of lower case letters, digits and underscores only.
  name: resourceName(placement, { limit: 128, separator: '_' }),
  needs: ['bucket'],
  // Definitions only: provisioning can make them again.
  holdsData: false,
  desired: { tags: desiredTags(placement), location: `s3://${bucket}/` },
});

export function databaseDriver(clients: Clients): ResourceDriver {
  const client = ({ placement }: Pick<Call, 'placement'>) => clients.glue(placement.region);
  const arnOf = ({ region, account }: Placement, name: string) => `arn:aws:glue:${region}:${account}:database/${name}`;
  const inputOf = (spec: ResourceSpec) => ({ Name: spec.name, LocationUri: String(spec.desired.location) });

  return {
    kind: databaseKind,
    immutable: [],

    async observe(spec, call) {
      const options = { abortSignal: call.signal };
      const id = arnOf(call.placement, spec.name);
      const found = await ifFound(client(call).send(new GetDatabaseCommand({ Name: spec.name }), options));
      if (!found?.Database) return undefined;
      const tagged = await ifFound(client(call).send(new GetTagsCommand({ ResourceArn: id }), options));
      const { tags, ...owned } = ownership(tagged?.Tags ?? {}, spec);
      return {
        id,
        ...owned,
        state: 'ready',
        properties: { tags, location: found.Database.LocationUri ?? '' },
        outputs: { database: spec.name },
      };
    },

    async create(spec, call) {
      await client(call).send(new CreateDatabaseCommand({ DatabaseInput: inputOf(spec), Tags: tagsOf(spec) }), {
        abortSignal: call.signal,
      });
    },

    async update(spec, observed, drift, call) {
      const options = { abortSignal: call.signal };
      if (drift.includes('tags'))
        await client(call).send(new TagResourceCommand({ ResourceArn: observed.id, TagsToAdd: tagsOf(spec) }), options);
      if (drift.includes('location'))
        await client(call).send(new UpdateDatabaseCommand({ Name: spec.name, DatabaseInput: inputOf(spec) }), options);
    },

    async remove(spec, _observed, call) {
      await gone(client(call).send(new DeleteDatabaseCommand({ Name: spec.name }), { abortSignal: call.signal }));
    },

    async list({ placement, signal }) {
      const glue = client({ placement });
      const databases = await allPages(async (NextToken) => {
        const page = await glue.send(new GetDatabasesCommand({ NextToken }), { abortSignal: signal });
        return { items: page.DatabaseList ?? [], next: page.NextToken };
      });
      const prefix = placement.owner.estate.replaceAll('-', '_');
      const ours = databases.flatMap(({ Name = '' }) => (Name.startsWith(prefix) ? [Name] : []));
      return eachOf(ours, async (name) => {
        const id = arnOf(placement, name);
        const tagged = await ifFound(glue.send(new GetTagsCommand({ ResourceArn: id }), { abortSignal: signal }));
        return foundBy(placement, databaseKind, name, id, tagged?.Tags ?? {});
      });
    },
  };
}
