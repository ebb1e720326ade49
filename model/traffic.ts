/**
 * How the traffic of a service with a front of its own (HTTP or TCP) is spread over its placements, and how the spread is
 * changed in steps. Weights are whole numbers; a target's share is its weight over the sum of all. Pure.
 */
import { z } from 'zod';
import { Key, serviceLabel, Uid } from './endpoint-record.ts';
import type { ProviderType } from './service.ts';

const mostTargets = 20;

export const Target = z.strictObject({
  /** Name of the provider in the estate file. */
  provider: Key,
  /** Address of the front there, as `traffic.fronts` of the estate file has it: a host name, an IPv4 address, `address:port`. */
  host: z.string().regex(/^[a-z0-9][a-z0-9.-]{0,252}(:[0-9]{1,5})?$/, 'must be a host name or an IPv4 address'),
  /** 0: nothing new goes there. */
  weight: z.int().min(0).max(1000),
});
export type Target = z.infer<typeof Target>;

/** The targets under the name of one service, in the order of their providers. */
export const WeightedRecord = z.strictObject({
  /** Of the estate. */
  uid: Uid,
  service: Key,
  /** How long an answer may be kept; 0 where nothing is kept, since a load balancer decides each time. */
  ttlSeconds: z.int().min(0).max(2_147_483_647),
  targets: z
    .array(Target)
    .min(1)
    .max(mostTargets)
    .refine(
      (targets) => new Set(targets.map(({ provider }) => provider)).size === targets.length,
      'names a provider twice',
    )
    .transform(inOrder),
});
export type WeightedRecord = z.infer<typeof WeightedRecord>;

export function inOrder(targets: readonly Target[]): Target[] {
  return targets.toSorted((a, b) => (a.provider < b.provider ? -1 : 1));
}

/** Whether two records tell the same. */
export const sameWeights = (a: WeightedRecord | null, b: WeightedRecord | null): boolean => shape(a) === shape(b);
const shape = (record: WeightedRecord | null): string =>
  JSON.stringify(
    record && [
      record.uid,
      record.service,
      record.ttlSeconds,
      inOrder(record.targets).map(({ provider, host, weight }) => [provider, host, weight]),
    ],
  );

/** Where weights are kept: in the zone of a cloud, or in a load balancer. */
export type TrafficPlace =
  | { by: 'dns'; provider: string; account: string; zone: string }
  /** `host:port` of its runtime API. */
  | { by: 'haproxy'; address: string };

/**
 * The name that clients of the service ask for. Not the name of its endpoint record: beside a CNAME nothing else may stand
 * (RFC 1034, 3.6.2).
 */
export const frontName = ({ service, zone }: { service: string; zone: string }): string =>
  `front.${serviceLabel(service)}.${zone}`;

/** Of a load balancer's backend, `compute-1a2b3c4d`: whoever writes its file finds the name in what `multi-cloud traffic` says. */
export const backendName = ({ service, uid }: { service: string; uid: string }): string =>
  `${service}-${uid.slice(0, 8)}`;

/**
 * The largest weight that can be held, as of 2026-11: Route 53 0 to 255
 * (https://docs.aws.amazon.com/Route53/latest/DeveloperGuide/resource-record-sets-values-weighted.html); Traffic Manager 1 to 1000
 * (https://learn.microsoft.com/rest/api/trafficmanager/profiles/create-or-update), where 0 is an endpoint that is disabled; Cloud DNS any
 * number from 0 (https://cloud.google.com/dns/docs/reference/rest/v1/resourceRecordSets), of which thousandths are enough; HAProxy 0 to 256
 * (https://docs.haproxy.org/2.6/management.html#9.3-set%20server).
 */
export const largestWeight = { aws: 255, azure: 1000, gcp: 1000, haproxy: 256 } as const satisfies Record<
  ProviderType | 'haproxy',
  number
>;

/** Shares in thousandths of the whole, by provider; they add up to 1000. */
export type Shares = Readonly<Record<string, number>>;
const whole = 1000;

/** Brings amounts to whole numbers that add up to `total` and are nearest to their proportions (largest remainders). */
function apportion(amounts: Shares, total: number): Record<string, number> {
  const sum = Object.values(amounts).reduce((all, one) => all + one, 0);
  const exact = Object.entries(amounts).map(([key, amount]) => ({ key, exact: (amount * total) / sum }));
  const left = total - exact.reduce((all, one) => all + Math.floor(one.exact), 0);
  const raised = exact
    .toSorted((a, b) => (b.exact % 1) - (a.exact % 1) || (a.key < b.key ? -1 : 1))
    .slice(0, left)
    .map(({ key }) => key);
  return Object.fromEntries(
    exact.map(({ key, exact: one }) => [key, Math.floor(one) + (raised.includes(key) ? 1 : 0)]),
  );
}

/** The shares that weights stand for; none where all of them are 0. */
export const sharesOf = (weights: Readonly<Record<string, number>>): Shares =>
  Object.values(weights).some((weight) => weight > 0) ? apportion(weights, whole) : {};

const divisor = (a: number, b: number): number => (b === 0 ? a : divisor(b, a % b));

/**
 * The smallest weights that stand for these shares, none over `largest`: exact where such weights exist, else rounded, and
 * never to 0 what is more than that.
 */
export function weightsOf(shares: Shares, largest: number): Record<string, number> {
  const common = Object.values(shares).reduce(divisor, 0);
  const most = Math.max(...Object.values(shares)) / common;
  return Object.fromEntries(
    Object.entries(shares).map(([key, share]) => {
      const exact = share / common;
      const weight = most <= largest ? exact : Math.max(Math.round((exact * largest) / most), share > 0 ? 1 : 0);
      return [key, weight];
    }),
  );
}

/**
 * From one spread to another, in steps that are percentages of the way; the last is the other one, whatever is asked. A step
 * that would change nothing is left out.
 */
export function stepsBetween({
  from,
  to,
  percents,
}: {
  from: Shares;
  to: Shares;
  percents: readonly number[];
}): { percent: number; shares: Shares }[] {
  const providers = [...new Set([...Object.keys(from), ...Object.keys(to)])].sort();
  const spread = (percent: number): Shares =>
    apportion(
      Object.fromEntries(
        providers.map((key) => [key, ((from[key] ?? 0) * (100 - percent) + (to[key] ?? 0) * percent) / 100]),
      ),
      whole,
    );
  const same = (a: Shares, b: Shares): boolean => providers.every((key) => (a[key] ?? 0) === (b[key] ?? 0));
  // Where nothing is spread yet there is nothing to go from.
  const between = Object.keys(from).length > 0 ? percents.filter((one) => one < 100).toSorted((a, b) => a - b) : [];
  const steps = [...between, 100].map((percent) => ({ percent, shares: spread(percent) }));
  return steps.filter(({ shares }, at) => !same(shares, steps[at - 1]?.shares ?? from));
}

/** What a front tells of one of its targets: counters since its start. */
export const FrontCounters = z.strictObject({
  provider: Key,
  requests: z.int().min(0),
  errors: z.int().min(0),
  /** In its own words where it does not serve: `DOWN`. */
  down: z.string().optional(),
});
export type FrontCounters = z.infer<typeof FrontCounters>;

/** Why a step must go back: targets that were given more and are down, or fail more often than is allowed. Empty: it may stand. */
export function judgeStep({
  before,
  after,
  gaining,
  errorShare,
}: {
  before: readonly FrontCounters[];
  after: readonly FrontCounters[];
  gaining: readonly string[];
  /** Largest share of requests that may fail, 0 to 1. */
  errorShare: number;
}): string[] {
  return after.flatMap(({ provider, requests, errors, down }) => {
    if (!gaining.includes(provider)) return [];
    if (down) return [`${provider} is ${down}`];
    const earlier = before.find((one) => one.provider === provider);
    // Counters that fell began anew.
    const since = (now: number, then = 0): number => (now < then ? now : now - then);
    const failed = since(errors, earlier?.errors);
    const asked = Math.max(since(requests, earlier?.requests), failed);
    if (failed <= asked * errorShare) return [];
    return [`${provider} failed ${failed} of ${asked} requests, and ${percent(errorShare)} are allowed`];
  });
}

const percent = (share: number): string => `${Math.round(share * 1000) / 10} %`;

/** `aws 99 %, gcp 1 %`. */
export const shownShares = (shares: Shares): string =>
  Object.entries(shares)
    .map(([provider, share]) => `${provider} ${percent(share / whole)}`)
    .join(', ');

export const shownTargets = (targets: readonly Target[]): string =>
  shownShares(sharesOf(Object.fromEntries(targets.map(({ provider, weight }) => [provider, weight]))));
