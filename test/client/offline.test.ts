/** What the command line does without Temporal. */
import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { conflicts } from '../../client/cli/commands/conflicts.ts';
import * as control from '../../client/cli/commands/control.ts';
import * as decide from '../../client/cli/commands/decide.ts';
import { deploy } from '../../client/cli/commands/deploy.ts';
import { devices } from '../../client/cli/commands/devices.ts';
import { doctor } from '../../client/cli/commands/doctor.ts';
import { migrate } from '../../client/cli/commands/migrate.ts';
import { permissions } from '../../client/cli/commands/permissions.ts';
import { plan } from '../../client/cli/commands/plan.ts';
import * as programs from '../../client/cli/commands/programs.ts';
import { recover } from '../../client/cli/commands/recover.ts';
import { remove } from '../../client/cli/commands/remove.ts';
import { replicate } from '../../client/cli/commands/replicate.ts';
import * as status from '../../client/cli/commands/status.ts';
import { traffic } from '../../client/cli/commands/traffic.ts';
import { verify } from '../../client/cli/commands/verify.ts';
import type { EstatePlan } from '../../model/operations.ts';
import { lines, multiCloud } from './command.ts';

const folder = mkdtempSync(join(tmpdir(), 'command-'));
const sample = readFileSync(join(import.meta.dirname, '../../config/multi-cloud.yaml'), 'utf8');
function file(name: string, text: string): string {
  const path = join(folder, name);
  writeFileSync(path, text);
  return path;
}

test('every command has a help with an example, and the help of all lists them', async () => {
  const commands = [
    ...Object.values(control),
    ...Object.values(decide),
    ...Object.values(programs),
    ...Object.values(status),
  ]
    .concat([
      plan,
      deploy,
      devices,
      remove,
      recover,
      verify,
      conflicts,
      doctor,
      migrate,
      permissions,
      replicate,
      traffic,
    ])
    .map((make) => make());
  const { code, out, err } = await multiCloud(['--help']);
  expect([code, err]).toEqual([0, '']);
  const listed = lines(out).flatMap((line) => /^ {2}([a-z][a-z-]+) (?:[[<]\S+[\]>] )*( |$)/.exec(line)?.[1] ?? []);
  expect(listed.sort()).toEqual([...commands.map((command) => command.name()), 'help'].sort());
  for (const command of commands) {
    const help: string[] = [];
    command.configureOutput({ writeOut: (text) => void help.push(text) }).outputHelp();
    expect(help.join('')).toMatch(new RegExp(`Examples?:\\n  npx multi-cloud ${command.name()}\\b`));
  }
});

describe('plan --offline', () => {
  test('of the sample says what goes where, at what cost, against the budget, in 100 columns but for notes', async () => {
    const [text, json] = await Promise.all([
      multiCloud(['plan', '--offline']),
      multiCloud(['plan', '--offline', '--json']),
    ]);
    expect([text.code, text.err, json.code, json.err]).toEqual([0, '', 0, '']);
    const planned: EstatePlan = JSON.parse(json.out);
    expect(Object.keys(planned).sort()).toEqual(
      ['estate', 'services', 'proposals', 'warnings', 'monthlyCostUsd', 'cost', 'reverts', 'notServed', 'hash'].sort(),
    );
    expect(planned.services.map(({ service, placements }) => [service, placements.length])).toEqual([
      ['compute', 2],
      ['data_lake', 3],
      ['firmware', 1],
      ['iot_core', 2],
      ['telemetry_archive', 1],
    ]);
    const { cost } = planned;
    const perPlacement = planned.services.flatMap(({ placements }) => placements.map((one) => one.monthlyCostUsd));
    expect(cost.runningUsd).toBeCloseTo(
      perPlacement.reduce((sum, usd) => sum + usd),
      2,
    );
    expect(cost.replicationUsd).toBeGreaterThan(0);
    expect(cost.monthlyUsd).toBeCloseTo(cost.runningUsd + cost.replicationUsd, 2);
    expect(planned.monthlyCostUsd).toBe(cost.monthlyUsd);
    expect(cost.budget).toMatchObject({ usd: 10000, state: 'over' });
    expect(text.out).toContain(`$${cost.monthlyUsd.toFixed(2)} a month\n  running $${cost.runningUsd.toFixed(2)}: `);
    expect(text.out).toContain('% of the budget of $10000.00: over the budget');
    expect(text.out).toContain(`plan ${planned.hash.slice(0, 12)}`);
    expect(text.out).not.toContain('nothing to change');
    const notes = /^ {2}(assumed:| +data_lake from|as many copies)/;
    expect(lines(text.out).filter((line) => line.length > 100 && !notes.test(line))).toEqual([]);
  });

  test('says whether the alert threshold is reached', async () => {
    const budget = async (usd: number) => {
      const path = file(`budget-${usd}.yaml`, sample.replace('budget: 10000', `budget: ${usd}`));
      return JSON.parse((await multiCloud(['plan', '--offline', '--json', '-f', path])).out).cost.budget.state;
    };
    expect(await Promise.all([18_000, 100_000].map(budget))).toEqual(['alert', 'within']);
  });

  test('of what cannot be placed prints the rest, and ends with 1 and the reason', async () => {
    const path = file('much.yaml', sample.replace('redundancy: 3', 'redundancy: 4'));
    const { code, err, out } = await multiCloud(['plan', '--offline', '--json', '-f', path]);
    expect(code).toBe(1);
    expect(err).toContain('Unplaceable: ');
    expect(
      JSON.parse(
        lines(out)
          .slice(0, lines(out).lastIndexOf('}') + 1)
          .join('\n'),
      ).services,
    ).toHaveLength(5);
  });
});

test('a wrong file is refused whole with 2: each error with its line; control characters are shown harmless', async () => {
  const text = sample
    .replace('type: "storage"', 'type: "stor\\e[31mage\\u202e"')
    .replace('budget: 10000', 'budgets: 1');
  const path = file('wrong.yaml', text);
  const { code, err, out } = await multiCloud(['plan', '--offline', '-f', path]);
  expect({ code, out }).toEqual({ code: 2, out: '' });
  expect(err).toMatch(
    /wrong\.yaml was refused, with 2 errors:\n {2}\S+wrong\.yaml:\d+ {2}.+\n {2}\S+wrong\.yaml:\d+ {2}.+\n$/,
  );
  expect(err).toContain('budget');
  // biome-ignore lint/suspicious/noControlCharactersInRegex: that is what must not be there
  expect(err).not.toMatch(/[\u001b\u202e]/);
});

test('wrong usage is 2 and says what to do; a Temporal that is not there is 6', async () => {
  const none = ['--address', '127.0.0.1:1'];
  const [unknown, missing, argument, unreachable] = await Promise.all(
    [
      ['deplay'],
      ['plan', '--offline', '-f', join(folder, 'none.yaml')],
      ['deploy', '--approval', 'maybe'],
      ['status', ...none],
    ].map((args) => multiCloud(args)),
  );
  expect(unknown).toMatchObject({ code: 2, out: '' });
  expect(unknown?.err).toMatch(/unknown command 'deplay'[\s\S]*--help/);
  expect(missing).toMatchObject({ code: 2, out: '' });
  expect(missing?.err).toContain('none.yaml cannot be read. Name an estate file with -f');
  expect(argument).toMatchObject({ code: 2 });
  expect(argument?.err).toContain('none, manual');
  expect(unreachable).toMatchObject({ code: 6 });
  expect(unreachable?.err).toContain('Temporal is not reachable at 127.0.0.1:1. Start the local one with `npm start`');
}, 30_000);

describe('permissions', () => {
  test('prints one policy as the cloud takes it, several under the names of their files', async () => {
    const [one, all] = await Promise.all([
      multiCloud(['permissions', '--provider', 'aws', '--service', 'storage', '--identity', 'watch']),
      multiCloud(['permissions', '--provider', 'gcp', '--json']),
    ]);
    expect(JSON.parse(one.out)).toMatchObject({ Version: '2012-10-17' });
    expect(one.out).toContain('arn:aws:s3:::multi-cloud-*');
    const names = [
      'multi-cloud-control.yaml',
      'multi-cloud-undo.yaml',
      'multi-cloud-watch.yaml',
      'multi-cloud-bulk.yaml',
    ];
    expect(Object.keys(JSON.parse(all.out))).toEqual(names);
  });

  test('a role of Azure needs its subscription; one that makes no calls has no policy', async () => {
    const [azure, bulk] = await Promise.all([
      multiCloud(['permissions', '--provider', 'azure']),
      multiCloud(['permissions', '--provider', 'aws', '--service', 'dns', '--identity', 'bulk']),
    ]);
    expect([azure.code, bulk.code]).toEqual([2, 2]);
    expect(azure.err).toContain('--account');
    expect(bulk.err).toContain('as bulk yet');
  });

  test('writes each policy into a file', async () => {
    const { out } = await multiCloud(['permissions', '--provider', 'azure', '--account', 'sub', '--out', folder]);
    expect(lines(out)).toHaveLength(4);
    for (const path of lines(out))
      expect(JSON.parse(readFileSync(path, 'utf8'))).toMatchObject({ AssignableScopes: ['/subscriptions/sub'] });
  });
});
