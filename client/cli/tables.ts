/** Status, costs and results for people. Text from values; nothing here talks to Temporal. */
import pc from 'picocolors';
import { againstBudget, type EstateCost } from '../../model/estate-cost.ts';
import type {
  Comparison,
  OperationResult,
  Rebuilt,
  RehearsalResult,
  Steered,
  SteerResult,
  Verified,
} from '../../model/operations.ts';
import { sumUsd } from '../../model/prices.ts';
import { confirmCommand } from '../../model/rebuild.ts';
import type { EstateRecord, ServiceSummary } from '../../model/record.ts';
import type { ReplicationLag } from '../../model/replicate.ts';
import { printable } from '../../model/text.ts';
import { shownTargets } from '../../model/traffic.ts';
import { columns, type Row, usd } from './columns.ts';
import { budgetText } from './plan-text.ts';
import { elapsed } from './tree.ts';

export function statusText(services: readonly ServiceSummary[]): string {
  if (services.length === 0)
    return 'Nothing runs.\n  what would: npx multi-cloud plan\n  where something should: npx multi-cloud doctor';
  return columns(['service', 'type', 'status', 'cloud', 'region', '$/month', 'health'], services.flatMap(statusRows));
}

function statusRows({
  service,
  type,
  status,
  placements,
  operation,
  waitingFor,
  replication,
  retained,
  orphans,
}: ServiceSummary): Row[] {
  const notes = [
    ...(operation ? [`${operation.operation} runs: npx multi-cloud watch ${operation.workflowId}`] : []),
    ...(waitingFor ? [`waits: ${waitingFor}`] : []),
    ...(replication ? [replicationText(replication)] : []),
    ...(status === 'interrupted' ? [`a run ended in the middle: npx multi-cloud recover ${service}`] : []),
    ...orphans.map(({ provider, kind, name, reason }) => `left behind: ${provider} ${kind} ${name} (${reason})`),
    ...(orphans.length > 0 && !operation ? [`remove what is left: npx multi-cloud recover ${service}`] : []),
  ];
  const [first, ...others] = placements.map((one): Row & { cells: (string | number)[] } => ({
    cells: [roleText(one), one.region, one.monthlyCostUsd, one.health],
    below: one.endpoint ? [one.endpoint] : [],
  }));
  return [
    { cells: [service, type, status, ...(first?.cells ?? [])], below: [...(first?.below ?? []), ...notes] },
    ...others.map(({ cells, below }) => ({ cells: ['', '', '', ...cells], ...(below && { below }) })),
    ...retained.map(({ provider, name, until, monthlyCostUsd }) => ({
      cells: ['', '', 'retained', provider, '', monthlyCostUsd],
      below: [`${name} is kept until ${until}: it holds data`],
    })),
  ];
}

const replicationText = ({ workflowId, lagSeconds, waitingFor }: NonNullable<ServiceSummary['replication']>): string =>
  waitingFor
    ? `replication stands still: ${waitingFor} (npx multi-cloud watch ${workflowId})`
    : `sides in step within ${lagSeconds} s`;

/** How far behind each direction is. */
export const lagText = ({ directions, failures, problem }: ReplicationLag): string =>
  [
    columns(
      ['direction', 'lag s', 'behind', 'applied', 'conflicts', 'errors', 'last applied'],
      directions.map(({ from, to, seconds, behind, applied, conflicts, errors, lastAppliedAt, held }) => ({
        cells: [`${from} > ${to}${held ? ' (held)' : ''}`, seconds, behind, applied, conflicts, errors, lastAppliedAt],
      })),
    ),
    ...(failures > 0 ? [`${failures} pumps have failed`] : []),
    ...(problem ? [printable(problem)] : []),
  ].join('\n');

/** `aws`, `gcp (target)`, `aws (retained until 2026-01-31)`. */
const roleText = ({ provider, role, removeAt }: ServiceSummary['placements'][number]): string =>
  role === 'current' ? provider : `${provider} (${role}${removeAt ? ` until ${removeAt.slice(0, 10)}` : ''})`;

export interface Costs {
  byService: {
    service: string;
    provider: string;
    region: string;
    estimateUsd: number;
    /** What clouds have billed is not read yet. */
    actual: 'not available';
  }[];
  /** Stores that outlived their placement because they hold data. */
  retained: { service: string; provider: string; name: string; until: string; estimateUsd: number }[];
  byProvider: Record<string, number>;
  /** Egress of the replication that the last applied file asks for. */
  replicationUsd: number;
  totalUsd: number;
  /** Of the last applied file. */
  budget?: EstateCost['budget'];
}

export function costsOf(services: readonly ServiceSummary[], applied: EstateRecord['lastApplied']): Costs {
  const byService = services.flatMap(({ service, placements }) =>
    placements.map(({ provider, region, monthlyCostUsd }) => ({
      service,
      provider,
      region,
      estimateUsd: monthlyCostUsd,
      actual: 'not available' as const,
    })),
  );
  const retained = services.flatMap(({ service, retained: stores }) =>
    stores.map(({ provider, name, until, monthlyCostUsd }) => ({
      service,
      provider,
      name,
      until,
      estimateUsd: monthlyCostUsd,
    })),
  );
  const byProvider: Record<string, number> = {};
  for (const { provider, estimateUsd } of [...byService, ...retained])
    byProvider[provider] = sumUsd([byProvider[provider] ?? 0, estimateUsd]);
  const replicationUsd = applied?.replicationUsd ?? 0;
  const totalUsd = sumUsd([...Object.values(byProvider), replicationUsd]);
  const budget = applied?.cost && againstBudget(applied.cost, totalUsd);
  return { byService, retained, byProvider, replicationUsd, totalUsd, ...(budget && { budget }) };
}

export function costsText({ byService, retained, byProvider, replicationUsd, totalUsd, budget }: Costs): string {
  if (byService.length + retained.length === 0)
    return 'Nothing runs, so nothing costs. What would: npx multi-cloud plan';
  const rows: Row[] = [
    ...byService.map(({ service, provider, region, estimateUsd, actual }) => ({
      cells: [service, provider, region, estimateUsd, actual],
    })),
    ...retained.map(({ service, provider, name, until, estimateUsd }) => ({
      cells: [service, provider, 'retained', estimateUsd, ''],
      below: [`${name} until ${until}`],
    })),
  ];
  const sums = Object.entries(byProvider).map(([provider, sum]) => `${provider} ${usd(sum)}`);
  return [
    columns(['service', 'cloud', 'region', 'estimate $/month', 'actual'], rows),
    pc.bold(`${usd(totalUsd)} a month`),
    `  ${sums.join(', ')}`,
    ...(replicationUsd > 0 ? [`  egress of replication ${usd(replicationUsd)}`] : []),
    ...(budget ? [`  ${budgetText(budget)}`] : []),
  ].join('\n');
}

export function resultText({
  outcome,
  placements,
  monthlyCostUsd,
  orphans,
  retained,
  skipped,
  traffic,
}: SteerResult): string {
  return [
    traffic
      ? trafficText(traffic)
      : `${pc.green(outcome)}: ${placements.length} ${placements.length === 1 ? 'placement' : 'placements'}, ${usd(monthlyCostUsd)} a month`,
    ...skipped.map(({ service, heldBy }) => `  skipped ${service}: ${printable(heldBy)}`),
    ...retained.map(
      ({ provider, name, until, monthlyCostUsd: cost }) =>
        `  kept ${provider} ${printable(name)} until ${until}: it holds data (${usd(cost)} a month)`,
    ),
    ...orphans.map(
      ({ provider, name, reason }) => `  left behind: ${provider} ${printable(name)}: ${printable(reason)}`,
    ),
  ].join('\n');
}

/** How the traffic of a service is spread. */
const trafficText = ({ name, targets }: Steered): string =>
  targets.length === 0
    ? `${name}: nothing is set yet`
    : `${name}: ${shownTargets(targets)}\n${targets.map(({ provider, host, weight }) => `  ${provider.padEnd(9)} ${host} weight ${weight}`).join('\n')}`;

/** What a rebuild has found, and what to do now. */
export function rebuiltText({ uid, services, refused }: Rebuilt, orphans: OperationResult['orphans']): string {
  const rows = services.map(({ service, status, placements, source, differences }) => ({
    cells: [
      service,
      status,
      placements.map(({ provider, region }) => `${provider} ${region}`).join(', '),
      source || 'no copy of its record',
    ],
    below: differences,
  }));
  return [
    columns(['service', 'status', 'runs on', 'record from'], rows),
    ...refused.map(({ bucket, key, why }) => `  refused ${key} in ${bucket}: ${printable(why)}`),
    ...orphans.map(
      ({ provider, kind, name, reason }) => `  orphan ${provider} ${kind} ${printable(name)}: ${printable(reason)}`,
    ),
    `The records of UID ${uid} are read-only until somebody has compared them with what runs (npx multi-cloud doctor) and confirms them:`,
    `  ${confirmCommand(uid)}`,
  ].join('\n');
}

/** How placements compare, and what was done about it. */
export function verifiedText(service: string, { from, rule, comparisons }: Verified): string {
  if (comparisons.length === 0) return `${service} is on ${from} alone: there is nothing to compare.`;
  const counts = rule === undefined ? from : `what counts by ${rule}`;
  return comparisons.flatMap((one) => comparisonLines(counts, rule ? from : one.provider, one)).join('\n');
}

/** `reportsOn`: whose records bucket has the reports. */
function comparisonLines(from: string, reportsOn: string, { provider, role, found, repaired }: Comparison): string[] {
  const left = (repaired ?? { found }).found;
  const equal = Object.keys(left.different).length === 0;
  const { reports, differentNames, different } = found;
  return [
    `${equal ? pc.green('✔') : pc.red('✘')} ${provider} (${role}) against ${from}: ${found.objects} objects, ${(found.bytes / 1e9).toFixed(3)} GB compared, ${found.same} the same${counted(different)}`,
    ...(differentNames.length > 0 ? [`  such as ${differentNames.map(printable).join(', ')}`] : []),
    ...reports.map((key) => `  report in the records bucket of ${reportsOn}: ${key}`),
    ...(repaired
      ? [
          `  repaired: ${repaired.copied.objects} copied, ${repaired.deleted} deleted, ${repaired.kept} kept because they are only there, ${repaired.failed} failed${repaired.failedNames.length > 0 ? `, such as ${repaired.failedNames.map(printable).join(', ')}` : ''}`,
          `  afterwards: ${equal ? 'all the same' : counted(left.different).slice(2)}`,
        ]
      : []),
  ];
}

const counted = (different: Comparison['found']['different']): string =>
  Object.entries(different)
    .map(([what, count]) => `, ${count} × ${what}`)
    .join('');

/** What a rehearsal has measured, and what follows for the whole. */
export function rehearsalText({ rehearsal, ...result }: RehearsalResult): string {
  if (!rehearsal) return resultText(result);
  const { service, from, to, sample, whole, measured, forecast } = rehearsal;
  const [least, most] = forecast.refusedMs;
  const amount = ({ objects, bytes }: typeof sample): string => `${objects} objects, ${(bytes / 1e9).toFixed(3)} GB`;
  return [
    `${pc.green('rehearsed')}: ${service} from ${from} to ${to} with ${amount(sample)}, switched and taken back; nothing is left of it`,
    `  measured: ${measured.objectsPerSecond.toFixed(1)} objects and ${(measured.bytesPerSecond / 1e6).toFixed(3)} MB a second; writers refused for ${elapsed(measured.refusedMs)}`,
    `  for all (${amount(whole)}): copying takes about ${elapsed(forecast.copyMs)} with as many workers; writers are refused for ${elapsed(least)} to ${elapsed(most)}`,
    `  cost: ${forecast.oneTimeUsd === undefined ? 'what leaves the cloud is not priced' : `${usd(forecast.oneTimeUsd)} once`}, then ${usd(forecast.monthlyUsd)} a month on ${to} (list prices)`,
    ...result.orphans.map(
      ({ provider, name, reason }) => `  left behind: ${provider} ${printable(name)}: ${printable(reason)}`,
    ),
  ].join('\n');
}
