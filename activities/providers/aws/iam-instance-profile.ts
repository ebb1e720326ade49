/** What gives instances their role. */
import {
  AddRoleToInstanceProfileCommand,
  CreateInstanceProfileCommand,
  DeleteInstanceProfileCommand,
  GetInstanceProfileCommand,
  ListInstanceProfilesCommand,
  ListInstanceProfileTagsCommand,
  RemoveRoleFromInstanceProfileCommand,
  TagInstanceProfileCommand,
} from '@aws-sdk/client-iam';
import { resourceName } from '../../../model/names.ts';
import type { Placement, ResourceSpec } from '../../../model/service.ts';
import type { ResourceDriver } from '../driver.ts';
import type { Clients } from './clients.ts';
import { gone, ifFound, isKind } from './errors.ts';
import { pathOf } from './iam-role.ts';
import { allPages, desiredTags, eachOf, foundBy, fromList, ownership, tagsOf, toList } from './tags.ts';

const kind = 'aws.iam.instance-profile';

export const instanceProfileSpec = (placement: Placement, role: string): ResourceSpec => ({
  key: 'profile',
  kind,
  name: resourceName(placement, { limit: 128 }),
  needs: ['role'],
  holdsData: false,
  desired: { tags: desiredTags(placement), role },
});

export function instanceProfileDriver(clients: Clients): ResourceDriver {
  const read = async (spec: ResourceSpec, signal: AbortSignal) => {
    const command = new GetInstanceProfileCommand({ InstanceProfileName: spec.name });
    return (await ifFound(clients.iam().send(command, { abortSignal: signal })))?.InstanceProfile;
  };
  const addRole = async (spec: ResourceSpec, signal: AbortSignal): Promise<void> => {
    const RoleName = String(spec.desired.role);
    const command = new AddRoleToInstanceProfileCommand({ InstanceProfileName: spec.name, RoleName });
    try {
      await clients.iam().send(command, { abortSignal: signal });
    } catch (error) {
      // A profile holds one role at most: also the answer when an earlier try, whose answer got lost, has added ours.
      const holds = isKind(error, 'QuotaExceeded') && (await read(spec, signal))?.Roles?.[0]?.RoleName === RoleName;
      if (!holds) throw error;
    }
  };

  return {
    kind,
    immutable: [],

    async observe(spec, { signal }) {
      const found = await read(spec, signal);
      if (!found) return undefined;
      const { tags, ...owned } = ownership(fromList(found.Tags), spec);
      return {
        id: found.Arn ?? '',
        ...owned,
        state: 'ready',
        properties: { tags, role: found.Roles?.[0]?.RoleName ?? '' },
        outputs: { arn: found.Arn ?? '', profile: spec.name },
      };
    },

    async create(spec, { placement, signal }) {
      const options = { abortSignal: signal };
      const InstanceProfileName = spec.name;
      const profile = { InstanceProfileName, Path: pathOf(placement), Tags: toList(tagsOf(spec)) };
      await clients.iam().send(new CreateInstanceProfileCommand(profile), options);
      await addRole(spec, signal);
    },

    async update(spec, observed, drift, { signal }) {
      const options = { abortSignal: signal };
      const InstanceProfileName = spec.name;
      if (drift.includes('tags')) {
        const tags = { InstanceProfileName, Tags: toList(tagsOf(spec)) };
        await clients.iam().send(new TagInstanceProfileCommand(tags), options);
      }
      if (drift.includes('role')) {
        const RoleName = String(observed.properties.role);
        if (RoleName)
          await gone(
            clients.iam().send(new RemoveRoleFromInstanceProfileCommand({ InstanceProfileName, RoleName }), options),
          );
        await addRole(spec, signal);
      }
    },

    async remove(spec, observed, { signal }) {
      const options = { abortSignal: signal };
      const InstanceProfileName = spec.name;
      const RoleName = String(observed.properties.role);
      if (RoleName)
        await gone(
          clients.iam().send(new RemoveRoleFromInstanceProfileCommand({ InstanceProfileName, RoleName }), options),
        );
      await gone(clients.iam().send(new DeleteInstanceProfileCommand({ InstanceProfileName }), options));
    },

    async list({ placement, signal }) {
      const iam = clients.iam();
      const options = { abortSignal: signal };
      const profiles = await allPages(async (Marker) => {
        const query = { PathPrefix: pathOf(placement), Marker };
        const page = await iam.send(new ListInstanceProfilesCommand(query), options);
        return { items: page.InstanceProfiles ?? [], next: page.Marker };
      });
      return eachOf(profiles, async ({ InstanceProfileName = '', Arn = '' }) => {
        const tagged = await ifFound(iam.send(new ListInstanceProfileTagsCommand({ InstanceProfileName }), options));
        return foundBy(placement, kind, InstanceProfileName, Arn, fromList(tagged?.Tags));
      });
    },
  };
}
