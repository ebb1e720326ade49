/** What each instance of a group looks like. Its default version is what counts; older ones stay as history. */
import {
  CreateLaunchTemplateCommand,
  CreateLaunchTemplateVersionCommand,
  CreateTagsCommand,
  DeleteLaunchTemplateCommand,
  DescribeLaunchTemplatesCommand,
  DescribeLaunchTemplateVersionsCommand,
  type _InstanceType as InstanceType,
  ModifyLaunchTemplateCommand,
  type RequestLaunchTemplateData,
  type ResponseLaunchTemplateData,
} from '@aws-sdk/client-ec2';
import { resourceName } from '../../../model/names.ts';
import type { JsonObject, Placement, ResourceSpec } from '../../../model/service.ts';
import type { Call, ResourceDriver } from '../driver.ts';
import type { Clients } from './clients.ts';
import { tagSpecification } from './ec2-resource.ts';
import { gone, ifFound } from './errors.ts';
import { allPages, desiredTags, foundBy, fromList, ownerFilter, ownership, tagsOf, toList } from './tags.ts';

const kind = 'aws.ec2.launch-template';
const volumeGb = 30;
/** Root device of Amazon Linux 2023. */
const rootDevice = '/dev/xvda';

/** The newest Amazon Linux 2023, looked up by EC2 at each start: https://docs.aws.amazon.com/linux/al2023/ug/ec2.html */
const imageFor = (instanceType: string): string => {
  const architecture = /^[a-z]+\d+g/.test(instanceType) ? 'arm64' : 'x86_64';
  return `resolve:ssm:/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-${architecture}`;
};

export const launchTemplateSpec = (placement: Placement, instanceType: string, profile: string): ResourceSpec => ({
  key: 'template',
  kind,
  name: resourceName(placement, { limit: 128 }),
  needs: ['firewall', 'profile'],
  holdsData: false,
  desired: {
    tags: desiredTags(placement),
    instanceType,
    image: imageFor(instanceType),
    profile,
    firewall: true,
    // IMDSv2 only, out of reach of containers.
    metadata: { tokens: 'required', hopLimit: 1 },
    volume: { encrypted: true, type: 'gp3', gb: volumeGb },
    monitoring: true,
    ownerTags: true,
  },
});

const dataOf = (spec: ResourceSpec, call: Call): RequestLaunchTemplateData => ({
  InstanceType: String(spec.desired.instanceType) as InstanceType,
  ImageId: String(spec.desired.image),
  IamInstanceProfile: { Name: String(spec.desired.profile) },
  SecurityGroupIds: [call.needs.firewall?.groupId ?? ''],
  MetadataOptions: { HttpTokens: 'required', HttpPutResponseHopLimit: 1, HttpEndpoint: 'enabled' },
  BlockDeviceMappings: [
    {
      DeviceName: rootDevice,
      Ebs: { Encrypted: true, VolumeType: 'gp3', VolumeSize: volumeGb, DeleteOnTermination: true },
    },
  ],
  Monitoring: { Enabled: true },
  // Instances and volumes are no resources of the placement, but a scan must tell whose they are.
  TagSpecifications: (['instance', 'volume'] as const).map((ResourceType) => ({
    ResourceType,
    Tags: toList(tagsOf(spec)),
  })),
});

function propertiesOf(data: ResponseLaunchTemplateData | undefined, spec: ResourceSpec, call: Call): JsonObject {
  const ebs = data?.BlockDeviceMappings?.find(({ DeviceName }) => DeviceName === rootDevice)?.Ebs;
  const wanted = Object.entries(tagsOf(spec));
  const tagged = (['instance', 'volume'] as const).every((type) => {
    const tags = fromList(data?.TagSpecifications?.find(({ ResourceType }) => ResourceType === type)?.Tags);
    return wanted.every(([key, value]) => tags[key] === value);
  });
  return {
    instanceType: data?.InstanceType ?? '',
    image: data?.ImageId ?? '',
    profile: data?.IamInstanceProfile?.Name ?? '',
    firewall: data?.SecurityGroupIds?.join() === call.needs.firewall?.groupId,
    metadata: {
      tokens: data?.MetadataOptions?.HttpTokens ?? 'optional',
      hopLimit: Number(data?.MetadataOptions?.HttpPutResponseHopLimit ?? 1),
    },
    volume: { encrypted: ebs?.Encrypted ?? false, type: ebs?.VolumeType ?? '', gb: Number(ebs?.VolumeSize ?? 0) },
    monitoring: data?.Monitoring?.Enabled ?? false,
    ownerTags: tagged,
  };
}

export function launchTemplateDriver(clients: Clients): ResourceDriver {
  const client = ({ placement }: Pick<Call, 'placement'>) => clients.ec2(placement.region);

  return {
    kind,
    immutable: [],

    async observe(spec, call) {
      const options = { abortSignal: call.signal };
      const byName = new DescribeLaunchTemplatesCommand({ LaunchTemplateNames: [spec.name] });
      const template = (await ifFound(client(call).send(byName, options)))?.LaunchTemplates?.[0];
      if (!template?.LaunchTemplateId) return undefined;
      const LaunchTemplateId = template.LaunchTemplateId;
      const current = new DescribeLaunchTemplateVersionsCommand({ LaunchTemplateId, Versions: ['$Default'] });
      const version = (await ifFound(client(call).send(current, options)))?.LaunchTemplateVersions?.[0];
      const { tags, ...owned } = ownership(fromList(template.Tags), spec);
      return {
        id: LaunchTemplateId,
        ...owned,
        state: 'ready',
        properties: { tags, ...propertiesOf(version?.LaunchTemplateData, spec, call) },
        outputs: { templateId: LaunchTemplateId, version: String(template.DefaultVersionNumber ?? 1) },
      };
    },

    async create(spec, call) {
      const command = new CreateLaunchTemplateCommand({
        LaunchTemplateName: spec.name,
        ClientToken: spec.name,
        LaunchTemplateData: dataOf(spec, call),
        TagSpecifications: tagSpecification('launch-template', spec),
      });
      await client(call).send(command, { abortSignal: call.signal });
    },

    /** A new version becomes the default; instances that run already keep what they were started with until they are replaced. */
    async update(spec, observed, drift, call) {
      const options = { abortSignal: call.signal };
      const LaunchTemplateId = observed.id;
      if (drift.includes('tags')) {
        const tags = { Resources: [LaunchTemplateId], Tags: toList(tagsOf(spec)) };
        await client(call).send(new CreateTagsCommand(tags), options);
      }
      if (drift.every((property) => property === 'tags')) return;
      const next = { LaunchTemplateId, LaunchTemplateData: dataOf(spec, call) };
      const { LaunchTemplateVersion } = await client(call).send(new CreateLaunchTemplateVersionCommand(next), options);
      const DefaultVersion = String(LaunchTemplateVersion?.VersionNumber ?? '');
      await client(call).send(new ModifyLaunchTemplateCommand({ LaunchTemplateId, DefaultVersion }), options);
    },

    async remove(_spec, observed, call) {
      const command = new DeleteLaunchTemplateCommand({ LaunchTemplateId: observed.id });
      await gone(client(call).send(command, { abortSignal: call.signal }));
    },

    async list(call) {
      const templates = await allPages(async (NextToken) => {
        const query = { Filters: [ownerFilter(call.placement)], NextToken };
        const page = await client(call).send(new DescribeLaunchTemplatesCommand(query), { abortSignal: call.signal });
        return { items: page.LaunchTemplates ?? [], next: page.NextToken };
      });
      return templates.flatMap(({ LaunchTemplateName = '', LaunchTemplateId = '', Tags }) =>
        foundBy(call.placement, kind, LaunchTemplateName, LaunchTemplateId, fromList(Tags)),
      );
    },
  };
}
