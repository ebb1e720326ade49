/** The firewall of a `compute` placement: nothing may come in, everything may go out. People reach instances through Session Manager. */
import {
  AuthorizeSecurityGroupEgressCommand,
  CreateSecurityGroupCommand,
  DeleteSecurityGroupCommand,
  DescribeSecurityGroupsCommand,
  type IpPermission,
  RevokeSecurityGroupEgressCommand,
  RevokeSecurityGroupIngressCommand,
  type SecurityGroup,
} from '@aws-sdk/client-ec2';
import { resourceName } from '../../../model/names.ts';
import type { Placement, ResourceSpec } from '../../../model/service.ts';
import type { Call, ResourceDriver } from '../driver.ts';
import type { Clients } from './clients.ts';
import { ec2Driver, namedTags, tagSpecification } from './ec2-resource.ts';
import { gone } from './errors.ts';

const kind = 'aws.ec2.security-group';
const anywhere: IpPermission = { IpProtocol: '-1', IpRanges: [{ CidrIp: '0.0.0.0/0' }] };

export function securityGroupSpec(placement: Placement): ResourceSpec {
  const name = resourceName(placement, { limit: 200, suffix: 'firewall' });
  return {
    key: 'firewall',
    kind,
    name,
    needs: ['network'],
    holdsData: false,
    desired: { tags: namedTags(placement, name), ingress: [], egress: ['all 0.0.0.0/0'] },
  };
}

/** A rule set as sorted words: `tcp 22-22 0.0.0.0/0`, `all sg-0123`. */
function words(permissions: readonly IpPermission[] | undefined): string[] {
  return (permissions ?? [])
    .flatMap(({ IpProtocol = '', FromPort, ToPort, IpRanges, Ipv6Ranges, UserIdGroupPairs, PrefixListIds }) => {
      const what = IpProtocol === '-1' ? 'all' : `${IpProtocol} ${FromPort}-${ToPort}`;
      const peers = [
        ...(IpRanges ?? []).map(({ CidrIp }) => CidrIp),
        ...(Ipv6Ranges ?? []).map(({ CidrIpv6 }) => CidrIpv6),
        ...(UserIdGroupPairs ?? []).map(({ GroupId }) => GroupId),
        ...(PrefixListIds ?? []).map(({ PrefixListId }) => PrefixListId),
      ];
      return peers.map((peer) => `${what} ${peer}`);
    })
    .sort();
}

export function securityGroupDriver(clients: Clients): ResourceDriver {
  const client = ({ placement }: Pick<Call, 'placement'>) => clients.ec2(placement.region);
  const rulesOf = async (GroupId: string, call: Call) => {
    const command = new DescribeSecurityGroupsCommand({ GroupIds: [GroupId] });
    return (await client(call).send(command, { abortSignal: call.signal })).SecurityGroups?.[0];
  };
  return ec2Driver<SecurityGroup>(clients, {
    kind,
    immutable: [],
    idOf: ({ GroupId }) => GroupId,
    async find(Filters, call) {
      const command = new DescribeSecurityGroupsCommand({ Filters });
      return (await client(call).send(command, { abortSignal: call.signal })).SecurityGroups ?? [];
    },
    properties: ({ IpPermissions, IpPermissionsEgress }) => ({
      ingress: words(IpPermissions),
      egress: words(IpPermissionsEgress),
    }),
    outputs: ({ GroupId }) => ({ groupId: GroupId ?? '' }),
    async create(spec, call) {
      const command = new CreateSecurityGroupCommand({
        // A group's name may not start with `sg-`, which an estate's may.
        GroupName: `multi-cloud-${spec.name}`,
        Description: 'Nothing in, everything out',
        VpcId: call.needs.network?.vpcId,
        TagSpecifications: tagSpecification('security-group', spec),
      });
      await client(call).send(command, { abortSignal: call.signal });
    },
    async update(_spec, GroupId, drift, call) {
      const options = { abortSignal: call.signal };
      const rules = await rulesOf(GroupId, call);
      if (drift.includes('ingress') && rules?.IpPermissions?.length) {
        const command = new RevokeSecurityGroupIngressCommand({ GroupId, IpPermissions: rules.IpPermissions });
        await client(call).send(command, options);
      }
      if (drift.includes('egress')) {
        if (rules?.IpPermissionsEgress?.length) {
          const IpPermissions = rules.IpPermissionsEgress;
          await client(call).send(new RevokeSecurityGroupEgressCommand({ GroupId, IpPermissions }), options);
        }
        const command = new AuthorizeSecurityGroupEgressCommand({ GroupId, IpPermissions: [anywhere] });
        await client(call).send(command, options);
      }
    },
    async remove(GroupId, call) {
      await gone(client(call).send(new DeleteSecurityGroupCommand({ GroupId }), { abortSignal: call.signal }));
    },
  });
}
