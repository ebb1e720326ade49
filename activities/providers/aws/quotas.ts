/**
 * The quotas of an AWS account that placements draw on. Service Quotas tells the limits; what is used is counted, since it
 * tells that through CloudWatch alone, minutes late.
 */

import type { _InstanceType as InstanceType } from '@aws-sdk/client-ec2';
import { DescribeInstancesCommand, DescribeInstanceTypesCommand, DescribeVpcsCommand } from '@aws-sdk/client-ec2';
import { ListBucketsCommand } from '@aws-sdk/client-s3';
import { GetAWSDefaultServiceQuotaCommand, GetServiceQuotaCommand } from '@aws-sdk/client-service-quotas';
import { created, type Draw, growth, type Headroom } from '../../../model/quota.ts';
import type { Provider } from '../driver.ts';
import { headroomOf, type Look, matched, nameOf, type Wanted } from '../headroom.ts';
import { groupKind, startOf } from './auto-scaling-group.ts';
import type { Clients } from './clients.ts';
import { classify, ifFound } from './errors.ts';
import { allPages } from './tags.ts';

interface Known {
  service: string;
  name: string;
  title: string;
  unit: string;
  /** The one region that a quota of the whole account is asked for in. */
  home?: string;
}

/** Codes: `aws service-quotas list-aws-default-service-quotas --service-code ec2`, and so on (2026-11). */
const vpcs: Known = { service: 'vpc', name: 'L-F678F1CE', title: 'VPCs per Region', unit: 'VPCs' };
const buckets: Known = {
  service: 's3',
  name: 'L-DC2B2D3D',
  title: 'General purpose buckets',
  unit: 'buckets',
  home: 'us-east-1',
};
const standard: Known = {
  service: 'ec2',
  name: 'L-1216C47A',
  title: 'Running On-Demand Standard (A, C, D, H, I, M, R, T, Z) instances',
  unit: 'vCPUs',
};

/** Families begin with these letters; High Memory, Inferentia and the like have quotas of their own and longer names. */
const isStandard = (type = ''): boolean => /^(a|c|d|h|i|im|is|m|r|t|z)\d/.test(type);

/** No more go into one request: https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_DescribeInstanceTypes.html */
const typesPerCall = 100;

export const awsQuotas =
  (clients: Clients): Provider['quotas'] =>
  ({ placement: { region, configuration }, specs, observed }: Wanted, signal) => {
    const options = { abortSignal: signal };
    const ec2 = clients.ec2(region);

    async function limitOf({ service, name, home }: Known): Promise<number | undefined> {
      const client = clients.serviceQuotas(home ?? region);
      const quota = { ServiceCode: service, QuotaCode: name };
      // One that was never changed may be known by its default alone.
      const applied = await ifFound(client.send(new GetServiceQuotaCommand(quota), options));
      return (applied ?? (await client.send(new GetAWSDefaultServiceQuotaCommand(quota), options))).Quota?.Value;
    }

    /** `needs` where the cloud has to be asked for it. */
    function look(known: Known, needs: number | (() => Promise<number>), count: () => Promise<number>): Look[] {
      if (needs === 0) return [];
      const { service, name, title, unit, home } = known;
      const raise = `aws service-quotas request-service-quota-increase --service-code ${service} --quota-code ${name} --region ${home ?? region} --desired-value <value>`;
      const where = home ? 'the account' : region;
      const read = async (): Promise<Headroom> => {
        const [limit, used, wanted] = await Promise.all([
          limitOf(known),
          count(),
          typeof needs === 'number' ? needs : needs(),
        ]);
        const draw: Draw = { name, title, unit, where, needs: wanted, raise };
        return matched([draw], () => (limit === undefined ? undefined : { limit, used }));
      };
      return [{ of: nameOf({ name, where }), read }];
    }

    /** vCPUs that instances of these types have by default: those count, whatever the instances were given. */
    async function vcpus(types: readonly string[]): Promise<(type: string) => number> {
      const known = new Map<string, number>();
      const names = [...new Set(types)];
      for (let at = 0; at < names.length; at += typesPerCall) {
        const InstanceTypes = names.slice(at, at + typesPerCall) as InstanceType[];
        const page = await ec2.send(new DescribeInstanceTypesCommand({ InstanceTypes }), options);
        for (const { InstanceType: type, VCpuInfo } of page.InstanceTypes ?? [])
          known.set(type ?? '', VCpuInfo?.DefaultVCpus ?? 0);
      }
      return (type) => known.get(type) ?? 0;
    }

    async function running(): Promise<number> {
      const instances = await allPages(async (NextToken) => {
        const Filters = [{ Name: 'instance-state-name', Values: ['pending', 'running'] }];
        const page = await ec2.send(new DescribeInstancesCommand({ Filters, NextToken }), options);
        return { items: (page.Reservations ?? []).flatMap((one) => one.Instances ?? []), next: page.NextToken };
      });
      const types = instances.flatMap(({ InstanceType: type, InstanceLifecycle }) =>
        type && isStandard(type) && InstanceLifecycle !== 'spot' ? [type] : [],
      );
      const of = await vcpus(types);
      return types.reduce((sum, type) => sum + of(type), 0);
    }

    const group = specs.find(({ kind }) => kind === groupKind);
    const type = String(specs.find(({ key }) => key === 'template')?.desired.instanceType ?? '');
    const present = observed[group?.key ?? ''];
    const machines = group
      ? growth({
          present: present && Number(present.properties.count),
          start: startOf(group, configuration),
          least: Number(group.desired.count ?? group.desired.min),
        })
      : 0;
    const looks: Look[] = [
      ...look(vpcs, created(specs, observed, 'aws.ec2.vpc'), async () => {
        const all = await allPages(async (NextToken) => {
          const page = await ec2.send(new DescribeVpcsCommand({ NextToken }), options);
          return { items: page.Vpcs ?? [], next: page.NextToken };
        });
        return all.length;
      }),
      ...look(buckets, created(specs, observed, 'aws.s3.bucket'), async () => {
        const all = await allPages(async (ContinuationToken) => {
          const page = await clients
            .s3(buckets.home ?? region)
            .send(new ListBucketsCommand({ MaxBuckets: 1000, ContinuationToken }), options);
          return { items: page.Buckets ?? [], next: page.ContinuationToken };
        });
        return all.length;
      }),
      ...(machines > 0 && isStandard(type)
        ? look(standard, async () => machines * (await vcpus([type]))(type), running)
        : []),
    ];
    return headroomOf(looks, classify);
  };
