/** The command line on a running estate: exit codes and what programs get. Needs the local clouds of `npm test`. */
import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parse, stringify } from 'yaml';
import { localRun } from '../local/stack.ts';
import { type Ended, jsonLines, lines, multiCloud } from './command.ts';

/** A name that nothing else uses, and no earlier run: the stack's estate is shared, and its record remembers who applied what. */
const service = `cli_${Date.now().toString(36)}`;
const folder = mkdtempSync(join(tmpdir(), 'command-'));

/** The worker's own file with this one service instead of its own. */
function file(name: string, sizeTb: number, change: object = {}): string {
  const own = parse(readFileSync(localRun().estateFile, 'utf8'));
  const configuration = { storage_size_tb: sizeTb };
  const services = { [service]: { type: 'storage', preferred_providers: ['aws'], configuration } };
  const path = join(folder, name);
  writeFileSync(path, stringify({ ...own, services, ...change }));
  return path;
}

function run(...args: string[]): Promise<Ended> {
  const { address, namespace } = localRun().temporal;
  return multiCloud(args, { MULTI_CLOUD_ADDRESS: address, MULTI_CLOUD_NAMESPACE: namespace });
}
const last = ({ out }: Ended): Record<string, unknown> => jsonLines(out).at(-1) ?? {};

let small = '';
beforeAll(() => {
  small = file('small.yaml', 0.1);
});
afterAll(async () => {
  // After a test that failed half way, a run may still wait and hold the estate.
  await run('cancel', 'deploy-estate/multi-cloud', '--yes');
  await run('remove', service, '--confirm', `multi-cloud/${service}`, '--yes');
});

test('a file that differs from the worker outside of what a run carries is refused with 2, and the sections are named', async () => {
  const other = file('other.yaml', 0.1, { compliance: {}, migration: { soak: '1h' } });
  const [planned, deployed] = await Promise.all([
    run('plan', '-f', other),
    run('deploy', '--service', service, '-f', other, '--yes'),
  ]);
  for (const { code, err } of [planned, deployed]) {
    expect(code).toBe(2);
    expect(err).toContain("InvalidInput: The file differs from the worker's own in compliance, migration.");
  }
});

test('a plan shows what would be created and changes nothing', async () => {
  const { code, out } = await run('plan', '-f', small, '--json');
  expect(code).toBe(0);
  expect(JSON.parse(out)).toMatchObject({
    estate: 'multi-cloud',
    reverts: [],
    services: [{ service, placements: [{ provider: 'aws', existing: false, changes: [{ action: 'create' }] }] }],
  });
});

test('without a terminal and without --yes nothing is changed: 2', async () => {
  const { code, err } = await run('deploy', '-f', small);
  expect(code).toBe(2);
  expect(err).toContain('run it with --yes');
});

test('deploy ends with 0 and the result last; status and costs then show it; removing what holds data is 1', async () => {
  const deployed = await run('deploy', '-f', small, '--yes', '--json', '--by', 'ann');
  expect([deployed.code, deployed.err]).toEqual([0, '']);
  expect(jsonLines(deployed.out)[0]).toMatchObject({ event: 'phase' });
  expect(last(deployed)).toMatchObject({
    event: 'result',
    outcome: 'done',
    orphans: [],
    placements: [{ service, provider: 'aws' }],
  });

  const [status, statusText, costs, audit, protectedOne, doctor] = await Promise.all([
    run('status', '--json'),
    run('status'),
    run('costs', '--json'),
    run('audit', 'deploy-estate/multi-cloud', '--json'),
    run('remove', service, '--yes'),
    run('doctor', '--json'),
  ]);
  expect(status.code).toBe(0);
  expect(JSON.parse(status.out)).toMatchObject({
    estate: 'multi-cloud',
    services: expect.arrayContaining([expect.objectContaining({ service, status: 'running' })]),
  });
  expect(lines(statusText.out)[0]).toMatch(/^service +type +status +cloud +region +\$\/month/);
  const money = JSON.parse(costs.out);
  expect(money).toMatchObject({ estate: 'multi-cloud', budget: { usd: 10000 } });
  expect(money.byService).toContainEqual(expect.objectContaining({ service, provider: 'aws', estimateUsd: 2.36 }));
  expect(JSON.parse(audit.out)).toContainEqual(expect.objectContaining({ who: 'ann', what: 'deploy the estate' }));
  expect(protectedOne.code).toBe(1);
  expect(protectedOne.err).toContain('Protected: ');
  const { findings }: { findings: { ok: boolean }[] } = JSON.parse(doctor.out);
  expect(findings.filter(({ ok }) => !ok)).toEqual([]);
  expect(findings.length).toBeGreaterThanOrEqual(3);
  expect(doctor.code).toBe(0);
});

test('a manual approval is waited for with 3, and a cancelled run ends with 5', async () => {
  const bigger = file('bigger.yaml', 0.2);
  const asked = await run('deploy', '-f', bigger, '--approval', 'manual', '--yes');
  expect(asked.code).toBe(3);
  expect(asked.err).toMatch(/Waits for a person: Approve this plan: [\s\S]*approve: npx multi-cloud approve (\S+)/);
  const id = /multi-cloud approve (\S+)/.exec(asked.err)?.[1] ?? '';
  const refused = await run('approve', id, '--by', 'ben', '--plan', '000000000000', '--yes');
  expect(refused.code).toBe(2);
  expect(refused.err).toContain('Refused: ');
  const cancelled = await run('cancel', id, '--yes', '--json');
  expect([cancelled.code, JSON.parse(cancelled.out)]).toEqual([0, { workflowId: id, asked: true }]);
  expect((await run('watch', id)).code).toBe(5);
});

test('what somebody else has applied is not taken back unasked, not even with --yes', async () => {
  const bigger = file('bigger.yaml', 0.2);
  expect((await run('deploy', '-f', bigger, '--yes', '--by', 'ben')).code).toBe(0);
  const asked = await run('deploy', '-f', small, '--yes', '--by', 'ann');
  expect(asked.code).toBe(3);
  expect(asked.err).toContain(`services.${service}.configuration.storage_size_tb from 0.2 (by ben, `);
  const id = /multi-cloud approve (\S+)/.exec(asked.err)?.[1] ?? '';
  expect((await run('reject', id, '--by', 'ben', '--yes')).code).toBe(0);
  expect([1, 5]).toContain((await run('watch', id)).code);
  expect((await run('deploy', '-f', small, '--yes', '--by', 'ann', '--revert')).code).toBe(0);
});

test('removing with --confirm deletes it: 0', async () => {
  const removed = await run('remove', service, '--confirm', `multi-cloud/${service}`, '--yes', '--json');
  expect(removed.code).toBe(0);
  expect(last(removed)).toMatchObject({ event: 'result', outcome: 'done', service, orphans: [] });
});
