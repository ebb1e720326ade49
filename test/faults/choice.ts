/** Which cases of a matrix a run goes through: a sample chosen by the commit, or all of a shard that are not done yet. */
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { appendFileSync, existsSync, readFileSync } from 'node:fs';
import { z } from 'zod';

const Noted = z.object({ id: z.string(), ok: z.boolean() });

/** Set for the whole matrix: the file where what is done is noted. */
const file = process.env.MULTI_CLOUD_FAULTS_FILE;
/** Whether all is gone through, as `npm run test:faults` does, or as much as `npm test` has time for. */
export const whole = file !== undefined;

/**
 * `MULTI_CLOUD_FAULTS_FILE`: all cases, but for those that stand in that file already; `MULTI_CLOUD_FAULTS_SHARD`: `i/n`, the
 * i-th of n equal parts; `MULTI_CLOUD_FAULTS_CASE`: those whose names match it. Otherwise one case
 * of each kind, another one for each commit.
 */
export function chosen<C extends { id: string }>(all: readonly C[], kind: (one: C) => string): C[] {
  if (!file) {
    const digest = ({ id }: C): string => createHash('sha256').update(`${seed()} ${id}`).digest('hex');
    const shuffled = all.toSorted((a, b) => (digest(a) < digest(b) ? -1 : 1));
    return [...new Map(shuffled.map((one) => [kind(one), one])).values()];
  }
  const lines = existsSync(file) ? readFileSync(file, 'utf8').split('\n').filter(Boolean) : [];
  const done = new Set(lines.map((line) => Noted.parse(JSON.parse(line))).flatMap(({ id, ok }) => (ok ? [id] : [])));
  const [shard = 1, shards = 1] = (process.env.MULTI_CLOUD_FAULTS_SHARD ?? '1/1').split('/').map(Number);
  const named = new RegExp(process.env.MULTI_CLOUD_FAULTS_CASE ?? '');
  return all.filter(({ id }, at) => at % shards === shard - 1 && !done.has(id) && named.test(id));
}

/** Cases in lots of a few, each of such as can share one run. */
export function inLots<C>(cases: readonly C[], most: number, canShare: (one: C, other: C) => boolean): C[][] {
  const lots: C[][] = [];
  for (const one of cases) {
    const lot = lots.find((some) => some.length < most && some.every((other) => canShare(one, other)));
    if (lot) lot.push(one);
    else lots.push([one]);
  }
  return lots;
}

/** One of the given, another one for each commit. */
export function byCommit<T>(all: readonly T[]): T | undefined {
  return all[Number.parseInt(seed().slice(0, 8), 16) % all.length];
}

/** Notes what a case has shown, so that a run of the whole matrix can go on where it was stopped. */
export function note(id: string, broken: readonly string[]): void {
  if (file) appendFileSync(file, `${JSON.stringify({ id, ok: broken.length === 0, broken })}\n`);
}

let commit: string | undefined;
function seed(): string {
  commit ??= execFileSync('git', ['rev-parse', 'HEAD'], { encoding: 'utf8', cwd: import.meta.dirname }).trim();
  return commit;
}
