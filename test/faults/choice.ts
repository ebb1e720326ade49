/** Which cases of the matrix a run goes through: a sample chosen by the commit, or all of a shard that are not done yet. */
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { z } from 'zod';
import type { FaultCase } from './cases.ts';

/** Cases of each cell that `npm test` runs. */
const sample = 2;

const Noted = z.object({ id: z.string(), ok: z.boolean() });

/**
 * `MULTI_CLOUD_FAULTS_FILE`: the whole matrix, but for what stands in that file already. `MULTI_CLOUD_FAULTS_SHARD`: `i/n`,
 * the i-th of n equal parts.
 */
export function chosenCases(all: readonly FaultCase[]): FaultCase[] {
  const file = process.env.MULTI_CLOUD_FAULTS_FILE;
  const digest = ({ id }: FaultCase): string => createHash('sha256').update(`${seed()} ${id}`).digest('hex');
  if (!file) return all.toSorted((a, b) => (digest(a) < digest(b) ? -1 : 1)).slice(0, sample);
  const lines = existsSync(file) ? readFileSync(file, 'utf8').split('\n').filter(Boolean) : [];
  const done = new Set(lines.map((line) => Noted.parse(JSON.parse(line))).flatMap(({ id, ok }) => (ok ? [id] : [])));
  const [shard = 1, shards = 1] = (process.env.MULTI_CLOUD_FAULTS_SHARD ?? '1/1').split('/').map(Number);
  return all.filter((one, at) => at % shards === shard - 1 && !done.has(one.id));
}

let commit: string | undefined;
function seed(): string {
  commit ??= execFileSync('git', ['rev-parse', 'HEAD'], { encoding: 'utf8', cwd: import.meta.dirname }).trim();
  return commit;
}
