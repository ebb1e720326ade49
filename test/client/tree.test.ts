/** What is shown of a run while it is followed, from given answers of its `progress`. */
import { stripVTControlCharacters } from 'node:util';
import { columns } from '../../client/cli/columns.ts';
import { eventsBetween, plainLine } from '../../client/cli/events.ts';
import { fullTree, renderTree } from '../../client/cli/tree.ts';
import { viewOf } from '../../client/cli/view.ts';
import type { Progress, Step } from '../../model/progress.ts';

const at = (second: number): string => new Date(second * 1000).toISOString();
const progress = (phase: string, steps: Step[], more: Partial<Progress> = {}): Progress => ({
  phase,
  steps,
  percent: 0,
  waitingFor: [],
  children: [],
  ...more,
});
const done = (name: string, from: number, to: number, detail?: string): Step => ({
  name,
  status: 'done',
  startedAt: at(from),
  finishedAt: at(to),
  detail,
});

const deploy = progress('deploying', [
  done('plan', 0, 1),
  { name: 'compute', status: 'running', startedAt: at(1) },
  { name: 'firmware', status: 'pending' },
]);
const child = progress('provisioning', [
  done('compute/aws/network', 1, 4, 'vpc-1'),
  { name: 'compute/aws/firewall', status: 'running', startedAt: at(4) },
  {
    name: 'compute/gcp/network',
    status: 'failed',
    startedAt: at(1),
    finishedAt: at(2),
    detail: 'refused\u001b[2J\nfor good',
  },
]);
const view = viewOf('deploy-estate/x', deploy, new Map([['deploy/x/compute-1', child]]));
const text = (rendered: string[]): string[] => rendered.map((line) => stripVTControlCharacters(line));

test('a tree of services, clouds and resources, with what runs, how long it took and what went wrong', () => {
  expect(text(fullTree(view, { columns: 80, now: 10_000 }))).toEqual([
    'deploying 50 %',
    '✓ plan  1.0 s',
    expect.stringMatching(/^. compute {2}9\.0 s$/),
    expect.stringMatching(/^ {2}. aws {2}9\.0 s$/),
    '    ✓ network  vpc-1  3.0 s',
    expect.stringMatching(/^ {4}. firewall {2}6\.0 s$/),
    expect.stringMatching(/^ {2}✗ gcp {2}failed {2}1\.0 s$/),
    '    ✗ network  failed: refused [2J for good  1.0 s',
    '· firmware',
  ]);
});

test('it fits the window: what is finished folds, and lines are cut', () => {
  const many = Array.from({ length: 40 }, (_, n) => done(`compute/aws/part${n}`, 0, 1, 'x'.repeat(200)));
  const rendered = text(
    renderTree(viewOf('x', progress('deploying', many), new Map()), { columns: 60, rows: 12, now: 0 }),
  );
  expect(rendered.length).toBeLessThanOrEqual(12);
  expect(rendered.every((line) => line.length <= 60)).toBe(true);
});

test('a log gets each change once, in a line without control characters', () => {
  const events = eventsBetween(undefined, view);
  expect(eventsBetween(view, view)).toEqual([]);
  expect(events.map((event) => plainLine(event, 2000))).toContain(
    '[2.0 s]   compute/gcp/network: failed, refused [2J for good',
  );
});

test('a table is aligned, leaves out what is empty, and shows control characters harmless', () => {
  const table = columns(
    ['name', 'empty', '$'],
    [{ cells: ['a\u001b[31m', '', 1.5] }, { cells: ['bb', '', 100], below: ['x\ny'] }],
  );
  expect(stripVTControlCharacters(table).split('\n')).toEqual([
    'name         $',
    'a [31m    1.50',
    'bb      100.00',
    '    x y',
  ]);
});
