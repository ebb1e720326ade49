/** A plan for people. Text from values; nothing here talks to Temporal. */
import pc from 'picocolors';
import type { EstatePlan, ServicePlan } from '../../model/operations.ts';
import { remedyOf, shortageText } from '../../model/quota.ts';
import { printable } from '../../model/text.ts';
import { columns, usd } from './columns.ts';

/** `offline`: no cloud was asked, so nothing is known of what must change there. */
export function planText(plan: EstatePlan, { offline = false } = {}): string {
  return [
    ...plan.services.flatMap((service) => [...serviceLines(service, offline), '']),
    ...plan.proposals.map(
      ({ text, command }) => `${pc.cyan('Proposal')} ${printable(text)}${command ? `\n  ${printable(command)}` : ''}`,
    ),
    ...plan.reverts.map(
      ({ path, from, to, by, at }) =>
        `${pc.yellow('Reverts')}  ${printable(`${path} from ${from || 'unset'}, which ${by || 'somebody'} applied at ${at}, to ${to || 'unset'}`)}`,
    ),
    ...plan.notServed.map((text) => `${pc.yellow('Not yet')}  ${printable(text)}`),
    ...(plan.short ?? []).map(
      (one) => `${pc.red('No room')}  ${printable(shortageText(one))}\n  ${printable(remedyOf(one))}`,
    ),
    ...plan.warnings.map((text) => `${pc.yellow('Warning')}  ${printable(text)}`),
    ...costLines(plan.cost),
    pc.dim(`plan ${plan.hash.slice(0, 12)}`),
  ].join('\n');
}

function serviceLines(
  { service, type, candidates, placements, endpoint, assumptions }: ServicePlan,
  offline: boolean,
): string[] {
  const score = (value: number | undefined): string => value?.toFixed(4) ?? '';
  const table = columns(
    ['  cloud', 'region', 'score', 'cost', 'perf.', 'compl.', 'reliab.', '$/month', ''],
    candidates.map(({ provider, region, chosen, reason, score: total, scores, monthlyCostUsd }) => {
      // The score stands in its column already.
      const why = reason.replace(/^score [\d.]+, /, '');
      const [cell, below] = why.length < 16 ? [why, []] : ['', [why]];
      const cells = [
        `${chosen ? '▶' : ' '} ${provider}`,
        region,
        score(total),
        score(scores?.cost),
        score(scores?.performance),
        score(scores?.compliance),
        score(scores?.reliability),
        monthlyCostUsd ?? '',
        cell,
      ];
      return { cells, below };
    }),
  );
  const changes = placements.flatMap(({ provider, changes: all }) => {
    const differing = all.filter(({ action }) => action !== 'none');
    if (differing.length === 0) return [`  ${provider}: nothing to change`];
    return [
      `  ${provider}:`,
      ...differing.map(({ action, kind, name, drift }) =>
        printable(`    ${action} ${kind} ${name}${drift.length > 0 ? ` (${drift.join(', ')})` : ''}`),
      ),
    ];
  });
  return [
    pc.bold(`${printable(service)} (${type})`),
    table,
    ...(offline ? [] : changes),
    ...(endpoint ? [`  endpoint record: ${endpoint}`] : []),
    ...assumptions.map((text) => pc.dim(`  assumed: ${printable(text)}`)),
  ];
}

function costLines({
  runningUsd,
  replicationUsd,
  oneTimeUsd,
  monthlyUsd,
  byProvider,
  replication,
  oneTime,
  budget,
  bestSingleCloud,
}: EstatePlan['cost']): string[] {
  const clouds = Object.entries(byProvider).map(([provider, cost]) => `${provider} ${usd(cost)}`);
  const egress = ({ service, provider, monthlyUsd: cost, note }: EstatePlan['cost']['replication'][number]): string =>
    `    ${service} from ${provider}: ${usd(cost)}${note ? pc.dim(` (${printable(note)})`) : ''}`;
  return [
    pc.bold(`${usd(monthlyUsd)} a month`),
    `  running ${usd(runningUsd)}${clouds.length > 0 ? `: ${clouds.join(', ')}` : ''}`,
    ...(replication.length > 0 ? [`  egress of replication ${usd(replicationUsd)}`, ...replication.map(egress)] : []),
    ...(oneTime.length > 0 ? [`  and once ${usd(oneTimeUsd)}`, ...oneTime.map(egress)] : []),
    ...(budget ? [`  ${budgetText(budget)}`] : []),
    ...(bestSingleCloud
      ? [
          `  as many copies on ${bestSingleCloud.provider} alone, the cheapest single cloud: ${usd(bestSingleCloud.runningUsd)} running; this plan ${
            bestSingleCloud.savingsUsd >= 0
              ? `saves ${usd(bestSingleCloud.savingsUsd)}`
              : `costs ${usd(-bestSingleCloud.savingsUsd)} more`
          }`,
        ]
      : []),
  ];
}

export function budgetText({ usd: amount, share, state }: NonNullable<EstatePlan['cost']['budget']>): string {
  const text = `${Math.round(share * 100)} % of the budget of ${usd(amount)}`;
  if (state === 'within') return pc.green(text);
  return state === 'over' ? pc.red(`${text}: over the budget`) : pc.yellow(`${text}: the alert threshold is reached`);
}
