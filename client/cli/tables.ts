/** Tables for people: plan, status, costs. Text from values; nothing here talks to Temporal. */
import Table from 'cli-table3';
import pc from 'picocolors';
import type { EstatePlan, OperationResult } from '../../model/operations.ts';
import type { ServiceSummary } from '../../model/record.ts';
import { printable } from '../../model/text.ts';

const usd = (value: number): string => `$${value.toFixed(2)}`;
const plain = { head: [], border: [], 'padding-left': 1, 'padding-right': 1 };

function table(head: string[], rows: (string | number)[][], right: number[] = []): string {
  const made = new Table({
    head: head.map((text) => pc.bold(text)),
    style: plain,
    wordWrap: true,
    colAligns: head.map((_, column) => (right.includes(column) ? 'right' : 'left')),
  });
  made.push(...rows.map((row) => row.map((cell) => (typeof cell === 'string' ? printable(cell) : String(cell)))));
  return made.toString();
}

export function planText(plan: EstatePlan): string {
  const parts: string[] = [];
  for (const { service, type, candidates, placements, assumptions } of plan.services) {
    parts.push(pc.bold(`${printable(service)} (${type})`));
    parts.push(
      table(
        ['cloud', 'region', 'score', 'cost', 'perf.', 'compl.', 'reliab.', '$/month', ''],
        candidates.map(({ provider, region, chosen, reason, score, scores, monthlyCostUsd }) => [
          `${chosen ? '▶ ' : '  '}${provider}`,
          region,
          score === undefined ? '' : score.toFixed(4),
          ...(['cost', 'performance', 'compliance', 'reliability'] as const).map(
            (key) => scores?.[key].toFixed(4) ?? '',
          ),
          monthlyCostUsd === undefined ? '' : monthlyCostUsd.toFixed(2),
          reason,
        ]),
        [2, 3, 4, 5, 6, 7],
      ),
    );
    for (const { provider, changes } of placements) {
      const differing = changes.filter(({ action }) => action !== 'none');
      parts.push(
        differing.length === 0
          ? `  ${provider}: nothing to change`
          : `  ${provider}: ${differing.map(({ action, name, drift }) => `${action} ${printable(name)}${drift.length > 0 ? ` (${drift.join(', ')})` : ''}`).join(', ')}`,
      );
    }
    for (const text of assumptions) parts.push(pc.dim(`  assumed: ${printable(text)}`));
    parts.push('');
  }
  for (const { text, command } of plan.proposals)
    parts.push(`${pc.cyan('Proposal')} ${printable(text)}${command ? `\n  ${command}` : ''}`);
  for (const text of plan.notServed) parts.push(`${pc.yellow('Not yet')}  ${printable(text)}`);
  for (const text of plan.warnings) parts.push(`${pc.yellow('Warning')}  ${printable(text)}`);
  const clouds = Object.entries(plan.byProvider).map(([provider, cost]) => `${provider} ${usd(cost)}`);
  parts.push(
    `${pc.bold(`${usd(plan.monthlyCostUsd)} a month`)}${plan.budgetUsd === undefined ? '' : ` of a budget of ${usd(plan.budgetUsd)}`}${clouds.length > 0 ? `: ${clouds.join(', ')}` : ''}`,
  );
  parts.push(pc.dim(`plan ${plan.hash.slice(0, 12)}`));
  return parts.join('\n');
}

const shortened = (text: string): string => (text.length > 64 ? `${text.slice(0, 63)}…` : text);

export function statusText(services: readonly ServiceSummary[]): string {
  if (services.length === 0) return 'Nothing runs. Start with: npx multi-cloud plan';
  const rows = services.flatMap(({ service, type, status, placements, operation, waitingFor, retained }) => [
    ...(placements.length === 0
      ? [[service, type, status, '', '', '', '', operation?.operation ?? waitingFor]]
      : placements.map((one, at) => [
          at === 0 ? service : '',
          at === 0 ? type : '',
          at === 0 ? status : '',
          one.role === 'current' ? one.provider : `${one.provider} (${one.role})`,
          one.region,
          shortened(one.endpoint),
          one.monthlyCostUsd.toFixed(2),
          at === 0
            ? [operation && `${operation.operation} (${operation.workflowId})`, waitingFor]
                .filter(Boolean)
                .join('; ') || one.health
            : one.health,
        ])),
    ...retained.map(({ provider, name, until, monthlyCostUsd }) => [
      '',
      '',
      'retained',
      provider,
      '',
      name,
      monthlyCostUsd.toFixed(2),
      `kept until ${until}: it holds data`,
    ]),
  ]);
  return table(['service', 'type', 'status', 'cloud', 'region', 'endpoint', '$/month', ''], rows, [6]);
}

export interface Costs {
  byService: { service: string; provider: string; region: string; estimateUsd: number; actual: 'not available' }[];
  byProvider: Record<string, number>;
  totalUsd: number;
}

export function costsOf(services: readonly ServiceSummary[]): Costs {
  const byService = services.flatMap(({ service, placements }) =>
    placements.map(({ provider, region, monthlyCostUsd }) => ({
      service,
      provider,
      region,
      estimateUsd: monthlyCostUsd,
      actual: 'not available' as const,
    })),
  );
  const byProvider: Record<string, number> = {};
  for (const { provider, estimateUsd } of byService)
    byProvider[provider] = round((byProvider[provider] ?? 0) + estimateUsd);
  return { byService, byProvider, totalUsd: round(byService.reduce((sum, { estimateUsd }) => sum + estimateUsd, 0)) };
}

const round = (value: number): number => Math.round(value * 100) / 100;

export function costsText({ byService, byProvider, totalUsd }: Costs): string {
  const rows = byService.map(({ service, provider, region, estimateUsd, actual }) => [
    service,
    provider,
    region,
    estimateUsd.toFixed(2),
    actual,
  ]);
  const sums = Object.entries(byProvider).map(([provider, sum]) => `${provider} ${usd(sum)}`);
  return `${table(['service', 'cloud', 'region', 'estimate $/month', 'actual'], rows, [3])}\n${pc.bold(`${usd(totalUsd)} a month`)}${sums.length > 0 ? `: ${sums.join(', ')}` : ''}`;
}

export function resultText({
  outcome,
  placements,
  monthlyCostUsd,
  orphans,
  retained,
  skipped,
}: OperationResult): string {
  return [
    `${pc.green(outcome)}: ${placements.length} placements, ${usd(monthlyCostUsd)} a month`,
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
