/** What a migration tells the people who decide, and what its comparisons mean. Pure. */

import type { EstatePlan } from '../model/operations.ts';
import type { RecordedPlacement } from '../model/record.ts';
import type { FollowedFeed } from '../model/replication.ts';
import type { CopiedDelta, CopiedObjects, Difference, Refusal, VerifiedTransfer } from '../model/transfer.ts';
import type { CopiedVersions } from '../model/versions.ts';
import { failure } from './calls.ts';
import type { Move } from './migration-plan.ts';

export const gigabytes = (bytes: number): string => (bytes / 1e9).toFixed(3);

/** A day of both placements, USD. */
export const waitingCost = (placements: readonly (RecordedPlacement | undefined)[]): number =>
  placements.reduce((sum, one) => sum + (one?.monthlyCostUsd ?? 0), 0) / 30;

/** What is asked before the cutover: what has been done, what it has cost, what will happen. */
export function cutoverText(move: Move, target: RecordedPlacement, plan: EstatePlan, lag: string): string {
  const { service, source, holds, soakMs, fenceMs, escapes, traffic } = move;
  const escaping =
    escapes.length > 0
      ? ` The fence does not stop ${escapes.slice(0, 3).join(', ')}${escapes.length > 3 ? ` and ${escapes.length - 3} more` : ''}: stop them yourself, or what they write meanwhile is lost.`
      : '';
  const steered = traffic ? `the endpoint record of ${service} names the new one` : 'its record names the new endpoint';
  return (
    `Cut ${service} over from ${source.provider} to ${target.provider}? ` +
    `${holds.objects} objects (${gigabytes(holds.bytes)} GB) are copied and compared; ${lag}. ` +
    `Copying cost about $${plan.cost.oneTimeUsd.toFixed(2)} (list price); each day of waiting costs $${waitingCost([source, target]).toFixed(2)} for both, and what is copied meanwhile. ` +
    `On approve: writers are refused on ${source.provider}${fenceMs > 0 ? ` (up to ${hours(fenceMs)} until that holds everywhere)` : ''}, the rest is copied and compared, ${steered}; ` +
    `for ${hours(soakMs)} it can go back with all that was written since. On reject everything is taken back.${escaping}`
  );
}

export const hours = (ms: number): string =>
  ms >= 3_600_000 ? `${Math.round(ms / 3_600_000)} h` : `${Math.round(ms / 1000)} s`;

export const objectsText = (failed: number, shards: readonly CopiedObjects[]): string =>
  `${failed} objects could not be copied: ${shards
    .flatMap(({ failedNames }) => failedNames)
    .slice(0, 5)
    .join(', ')}${failed > 5 ? ', …' : ''}. ` +
  `Each stands with its reason in the records bucket: ${shards
    .flatMap(({ failures }) => failures || [])
    .slice(0, 5)
    .join(', ')}. ` +
  'retry tries these again, skip goes on without them and keeps the source until somebody removes it, undo takes everything back.';

export function versionsText(shards: readonly { copied: CopiedVersions }[]): string {
  const sum = (of: (copied: CopiedVersions) => number) => shards.reduce((total, { copied }) => total + of(copied), 0);
  const [missed, vanished] = [sum((one) => one.missed), sum((one) => one.vanished)];
  return (
    `${sum((one) => one.seen.objects)} older versions (${gigabytes(sum((one) => one.seen.bytes))} GB) with ${sum((one) => one.deletions)} deletions between them, copied and compared` +
    `${missed > 0 ? `; ${missed} came while only current objects were copied, and are not there` : ''}` +
    `${vanished > 0 ? `; ${vanished} went meanwhile` : ''}`
  );
}

export const versionsLeftText = (failed: number, shards: readonly { copied: CopiedVersions }[]): string =>
  `The history of some objects cannot go on, ${failed} versions in the way: ${shards
    .flatMap(({ copied }) => copied.failedNames)
    .slice(0, 5)
    .join(', ')}${failed > 5 ? ', …' : ''}. ` +
  `Each stands with its reason in the records bucket: ${shards
    .flatMap(({ copied }) => copied.failures || [])
    .slice(0, 5)
    .join(', ')}. ` +
  'retry goes on with them, skip goes on without them and keeps the source until somebody removes it, undo takes everything back.';

export const refusedText = (refused: Partial<Record<Refusal, number>>, file: string): string =>
  `Some objects cannot be at the target as they are: ${Object.entries(refused)
    .map(([why, count]) => `${count} × ${why}`)
    .join(', ')}. ` +
  `Each stands in the records bucket: ${file}. skip goes on without them and keeps the source until somebody removes it, retry lists again, undo takes everything back.`;

export const brakeText = (delta: CopiedDelta, limit: number): string =>
  `${delta.gone} objects are gone from the source since the last pass, more than ${limit}: ${delta.deleted > 0 ? `${delta.deleted} of them were deleted at the target, the others not` : 'nothing was deleted at the target'}. ` +
  'continue deletes them there too, undo takes everything back.';

/** How changes arrive between the passes. `problem`: why the source's cloud does not tell of them. */
export function feedText(feed: FollowedFeed | undefined, problem: string): string {
  const why = problem || feed?.problem;
  if (why) return `; by listing alone, since its cloud tells of no changes: ${why}`;
  if (!feed) return '';
  const lag = feed.applied > 0 ? `, each within ${(feed.lagMs / 1000).toFixed(1)} s` : '';
  return `; ${feed.applied} changes brought since, as its cloud told of them${lag}, ${feed.behind} under way`;
}

/** Asked before a repair deletes as much. */
export const extraText = (service: string, provider: string, extra: number, limit: number): string =>
  `${service} on ${provider} has ${extra} objects that the current placement lacks, more than ${limit}: nothing was changed yet. ` +
  'continue deletes them there, undo leaves everything as it is.';

export const deltaText = ({ copied, deleted }: CopiedDelta): string =>
  `${copied.objects} objects (${gigabytes(copied.bytes)} GB) copied, ${deleted} deleted`;

/** Differences that no later pass can explain: the bytes are not those of the version that they claim to be. */
const corrupt: readonly Difference[] = ['content', 'size'];

const told = (service: string, { different, differentNames, report }: VerifiedTransfer): string =>
  `${service}: ${Object.entries(different)
    .map(([what, count]) => `${count} × ${what}`)
    .join(', ')}, such as ${differentNames.join(', ')}; the whole list is ${report} in the records bucket`;

/** While writers go on: what is missing or stale comes with the next pass. */
export function refuseCorrupted(service: string, seen: VerifiedTransfer): void {
  if (corrupt.some((kind) => (seen.different[kind] ?? 0) > 0)) throw failure('IntegrityMismatch', told(service, seen));
}

/** With nobody writing: nothing may differ. */
export function refuseDifferent(service: string, seen: VerifiedTransfer): void {
  if (Object.values(seen.different).some((count) => count > 0)) throw failure('IntegrityMismatch', told(service, seen));
}
