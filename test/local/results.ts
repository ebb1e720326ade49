/** What runs of Jest have come to, by their `--json` files. */
import { readFileSync } from 'node:fs';
import { relative } from 'node:path';
import { z } from 'zod';

const JestResults = z.object({
  testResults: z.array(
    z.object({
      name: z.string(),
      status: z.string(),
      assertionResults: z.array(z.object({ status: z.string() })),
    }),
  ),
});

export interface Suite {
  /** Path from the root of the project. */
  id: string;
  passed: number;
  /** A suite that could not run at all counts as one. */
  failed: number;
}

/** Undefined where a run ended before it could count. */
export type Results = Suite[] | undefined;

export function readResults(file: string, root: string): Results {
  try {
    const { testResults } = JestResults.parse(JSON.parse(readFileSync(file, 'utf8')));
    return testResults.map(({ name, status, assertionResults }) => {
      const count = (of: string): number => assertionResults.filter((one) => one.status === of).length;
      const failed = count('failed');
      return { id: relative(root, name), passed: count('passed'), failed: failed || (status === 'failed' ? 1 : 0) };
    });
  } catch {
    return undefined;
  }
}

export const failedOf = (runs: readonly Results[]): Suite[] =>
  runs.flatMap((suites) => suites ?? []).filter(({ failed }) => failed > 0);

export interface Sum {
  passed: number;
  failed: number;
  /** What failed the first time and passed the second. */
  flaky: string[];
}

/** Suites that ran again count as they ended then; a run that did not count has failed. */
export function sumOf(runs: readonly Results[], again: Results = []): Sum {
  const last = new Map(again.map((suite) => [suite.id, suite]));
  const sum: Sum = { passed: 0, failed: runs.filter((suites) => !suites).length, flaky: [] };
  for (const suite of runs.flatMap((suites) => suites ?? [])) {
    const { passed, failed } = (suite.failed > 0 && last.get(suite.id)) || suite;
    sum.passed += passed;
    sum.failed += failed;
    if (suite.failed > 0 && failed === 0) sum.flaky.push(suite.id);
  }
  return sum;
}
