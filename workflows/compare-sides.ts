/** The sides of a replicated service, compared with each other: none is the one that counts, the rule tells for each key. */
import * as wf from '@temporalio/workflow';
import type { ComparedSides, RepairedSides } from '../model/divergence.ts';
import type { Estate } from '../model/estate.ts';
import type { Comparison, Findings, Verified } from '../model/operations.ts';
import type { RecordedPlacement } from '../model/record.ts';
import type { Owner } from '../model/service.ts';
import { placementRef } from '../model/transfer.ts';
import { watch } from './calls.ts';
import type { Operation } from './operation.ts';

type Wish = NonNullable<Estate['services'][string]['replication']>;

export interface ReplicatedSides {
  owner: Omit<Owner, 'generation'>;
  sides: readonly RecordedPlacement[];
  wish: Wish;
  repair: boolean;
}

/** A change that is on its way for longer than this is a difference. */
const settleMs = (thresholdMs: number): number => Math.min(60_000, Math.max(1000, 2 * thresholdMs));

export async function compareReplicated(
  op: Operation,
  { owner, sides, wish, repair }: ReplicatedSides,
): Promise<Verified> {
  const { service } = owner;
  const first = sides[0]?.provider ?? '';
  const oneWay = wish.mode === 'active-passive';
  const common = {
    sides: sides.map((side) => placementRef(owner, side)),
    name: `verify-${wf.uuid4().slice(0, 8)}`,
    rule: oneWay ? ('source-wins' as const) : wish.conflict_resolution,
    source: sides.some(({ provider }) => provider === wish.source) ? (wish.source ?? first) : first,
    oneWay,
    transformations: wish.transformations,
  };
  const compare = (step: string): Promise<ComparedSides> =>
    op.board.step(
      step,
      () =>
        op.held(repair ? service : '', () =>
          watch(`${step}: ${service}`).compareSides({ ...common, settleMs: settleMs(wish.latency_threshold_ms) }),
        ),
      comparedText,
    );

  const found = await compare('compare all sides');
  const before = sides.map((side) => comparison(side, found));
  const verified = { from: common.source, rule: common.rule };
  if (!repair || found.report === '') return { ...verified, comparisons: before, equal: found.report === '' };
  const { report } = found;
  const done = await op.board.step(
    'repair',
    () => op.held(service, () => watch(`repair: ${service}`).repairSides({ ...common, report })),
    repairedText,
  );
  op.board.record('run', repairedText(done), service);
  await op.keepTrail(service);
  const after = await compare('compare again');
  const comparisons = before.map((one): Comparison => {
    const mended = done.sides.find(({ side }) => side === one.provider);
    const { copied = { objects: 0, bytes: 0 }, failed = 0, failedNames = [] } = mended ?? {};
    return {
      ...one,
      repaired: { copied, failed, failedNames, deleted: 0, kept: 0, found: findings(one.provider, after) },
    };
  });
  return { ...verified, comparisons, equal: after.report === '' };
}

const comparison = ({ provider, region, role }: RecordedPlacement, found: ComparedSides): Comparison => ({
  ...{ provider, region, role },
  found: findings(provider, found),
});

function findings(provider: string, { objects, sides, report, changing }: ComparedSides): Findings {
  const side = sides.find((one) => one.side === provider);
  const { listed = { objects: 0, bytes: 0 }, different = {}, differentNames = [] } = side ?? {};
  const differing = Object.values(different).reduce((sum, count) => sum + count, 0);
  return {
    ...{ objects, different, differentNames },
    bytes: listed.bytes,
    same: objects - differing - changing,
    reports: report === '' ? [] : [report],
  };
}

const comparedText = ({ objects, same, changing }: ComparedSides): string =>
  `${objects} objects: ${same} the same everywhere, ${objects - same - changing} not${changing > 0 ? `, ${changing} on their way` : ''}`;

function repairedText({ sides, logged, changed }: RepairedSides): string {
  const sum = (of: (one: RepairedSides['sides'][number]) => number): number =>
    sides.reduce((total, one) => total + of(one), 0);
  return `${sum(({ copied }) => copied.objects)} objects copied, ${logged} logged before, ${changed} had changed, ${sum(({ failed }) => failed)} failed`;
}
