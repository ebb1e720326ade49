/** What the last line of `npm test` says. */
import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { failedOf, readResults, sumOf } from './results.ts';

const suite = (id: string, passed: number, failed: number) => ({ id, passed, failed });

it('adds up what each run has counted', () => {
  const runs = [[suite('a', 3, 0), suite('b', 2, 1)], [suite('c', 4, 0)]];
  expect(failedOf(runs)).toEqual([suite('b', 2, 1)]);
  expect(sumOf(runs)).toEqual({ passed: 9, failed: 1, flaky: [] });
});

it('takes the second word of a suite that ran again, and says which passed only then', () => {
  const runs = [[suite('a', 3, 0), suite('b', 2, 1), suite('c', 0, 2)]];
  const again = [suite('b', 3, 0), suite('c', 1, 1)];
  expect(sumOf(runs, again)).toEqual({ passed: 7, failed: 1, flaky: ['b'] });
});

it('counts a run that ended before it could count, the second one as well', () => {
  expect(sumOf([[suite('a', 3, 1)], undefined], undefined)).toEqual({ passed: 3, failed: 2, flaky: [] });
});

it('reads what Jest writes, and counts a suite that could not run', () => {
  const root = mkdtempSync(join(tmpdir(), 'results-'));
  const file = join(root, '1.json');
  const testResults = [
    {
      name: join(root, 'test/a.test.ts'),
      status: 'passed',
      assertionResults: [{ status: 'passed' }, { status: 'pending' }],
    },
    {
      name: join(root, 'test/b.test.ts'),
      status: 'failed',
      assertionResults: [{ status: 'failed' }, { status: 'passed' }],
    },
    { name: join(root, 'test/c.test.ts'), status: 'failed', assertionResults: [] },
  ];
  writeFileSync(file, JSON.stringify({ testResults, success: false }));
  expect(readResults(file, root)).toEqual([
    suite('test/a.test.ts', 1, 0),
    suite('test/b.test.ts', 1, 1),
    suite('test/c.test.ts', 0, 1),
  ]);
  expect(readResults(join(root, 'none.json'), root)).toBeUndefined();
});
