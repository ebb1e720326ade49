/** The devices of a service: what a registry holds, how two differ, what became of each device of a copy. */
import { Command, Option } from 'commander';
import type { Census, deviceReports } from '../../../model/fleet.ts';
import { printable } from '../../../model/text.ts';
import type { CheckDevicesInput, DevicesCheck } from '../../index.ts';
import { columns } from '../columns.ts';
import { confirm, mustBeAsked, recordedAccounts } from '../confirm.ts';
import { Exit, exitCodes } from '../exit.ts';
import { leaveOrFollow } from '../follow.ts';
import { defaultName, type GlobalOptions, inSession, print, printEvent, printJson, type Session } from '../session.ts';
import { simulate } from './devices-simulate.ts';

interface Options extends GlobalOptions {
  provider: string;
  from: string;
  to: string;
  copy: string;
  rate?: number;
  all?: boolean;
  detach?: boolean;
  wait?: boolean;
  yes?: boolean;
  by: string;
}

type Of<K extends DevicesCheck['what']> = Extract<DevicesCheck, { what: K }>;

const positive = (text: string): number => {
  const value = Number(text);
  if (value > 0) return value;
  throw new Exit(
    exitCodes.wrongUsage,
    `--rate must be calls a second, for instance 100; found ${text}`,
    'InvalidInput',
  );
};
const rate = () =>
  new Option('--rate <calls>', 'requests a second to each registry, in place of what its quota allows').argParser(
    positive,
  );

export const devices = (): Command =>
  new Command('devices')
    .description(
      'the devices of an iot_core service: list, diff, outcome look; copy registers them on another of its clouds; simulate runs some',
    )
    .addHelpText(
      'after',
      '\nEach that looks is a run of checkDevices, copy one of copyFleet. What a registry holds is written into the records bucket of its place, and read from\nthere page by page (--all).\n\nExamples:\n  npx multi-cloud devices list iot_core --provider aws\n  npx multi-cloud devices diff iot_core --from aws --to gcp --all\n  npx multi-cloud devices simulate iot_core --certificates ./devices --count 200 --for 1m',
    )
    .addCommand(list())
    .addCommand(diff())
    .addCommand(copy())
    .addCommand(outcome())
    .addCommand(simulate());

const list = (): Command =>
  new Command('list')
    .description('counts what a registry holds, and shows it')
    .argument('<service>', 'key of the service in the estate file')
    .option('--provider <provider>', 'whose registry, where the service is on several clouds')
    .option('--to <provider>', 'also tell which devices that cloud could not hold, and why')
    .option('--all', 'every device, not only the first')
    .addOption(rate())
    .action((service: string, _: unknown, command: Command) =>
      inSession(command, async (session) => {
        const { provider, to, all, rate: calls_per_second } = command.optsWithGlobals<Options>();
        const found = await look(session, { what: 'list', service, provider, to, calls_per_second });
        if (session.json && !all) return printJson(found);
        if (!session.json) print(censusText(found.census, found.provider));
        if (all) return every(session, { service, provider: found.provider, name: found.name, report: 'devices' });
        print(columns(['device', 'status', 'credential', 'groups', 'last seen'], found.census.first.map(rowOf)));
        if (found.census.refusedFiles)
          await every(session, { service, provider: found.provider, name: found.name, report: 'refused' });
      }),
    );

const diff = (): Command =>
  new Command('diff')
    .description('compares two registries; exit 1 where they differ')
    .argument('<service>', 'key of the service in the estate file')
    .requiredOption('--from <provider>', 'the one')
    .requiredOption('--to <provider>', 'the other')
    .option('--all', 'every difference, not only the first')
    .addOption(rate())
    .action((service: string, _: unknown, command: Command) =>
      inSession(command, async (session) => {
        const { from, to, all, rate: calls_per_second } = command.optsWithGlobals<Options>();
        const found = await look(session, { what: 'diff', service, from, to, calls_per_second });
        const differ = Object.keys(found.diff.different).length > 0;
        if (session.json && !all) printJson(found);
        else if (all) await every(session, { service, provider: found.provider, name: found.name, report: 'diff' });
        else print(diffText(found, { from, to }));
        if (differ) throw new Exit(exitCodes.failed);
      }),
    );

const copy = (): Command =>
  new Command('copy')
    .description('registers the devices of one placement of the service at another; changes no device that is there')
    .argument('<service>', 'key of the service in the estate file')
    .requiredOption('--from <provider>', 'whose devices')
    .requiredOption('--to <provider>', 'where they are registered')
    .option('--detach', 'start it and leave')
    .option('--wait', 'stay when it waits for a person or is blocked')
    .option('--by <name>', 'who asks, for the audit trail', defaultName())
    .option('-y, --yes', 'do not ask before it starts')
    .addOption(rate())
    .action((service: string, _: unknown, command: Command) =>
      inSession(command, async (session) => {
        const { from, to, detach, wait, yes, by, rate: calls_per_second } = command.optsWithGlobals<Options>();
        mustBeAsked(yes);
        await confirm(
          session,
          `Copy the devices of ${service} from ${from} to ${to}`,
          yes,
          await recordedAccounts(session),
        );
        const handle = await session.estate.copyFleet({ service, from, to, calls_per_second, by });
        await leaveOrFollow(session, handle, { detach, wait });
      }),
    );

const outcome = (): Command =>
  new Command('outcome')
    .description('what became of each device of a copy')
    .argument('<service>', 'key of the service in the estate file')
    .requiredOption('--provider <provider>', 'where they were copied to')
    .requiredOption('--copy <name>', 'name of the copy, as its run tells')
    .action((service: string, _: unknown, command: Command) =>
      inSession(command, async (session) => {
        const { provider, copy: name } = command.optsWithGlobals<Options>();
        await every(session, { service, provider, name, report: 'outcomes' });
      }),
    );

async function look<K extends DevicesCheck['what']>(
  { estate }: Session,
  input: CheckDevicesInput & { what: K },
): Promise<Of<K>> {
  return (await estate.devices(input)) as Of<K>;
}

/** Every row of a report, a page at a time. */
async function every(
  session: Session,
  of: { service: string; provider: string; name: string; report: (typeof deviceReports)[number] },
): Promise<void> {
  for (let page = 0, pages = 1; page < pages; page++) {
    const found = await look(session, { what: 'rows', ...of, page });
    pages = found.pages;
    if (session.json) for (const row of found.rows) printEvent(row);
    else if (found.rows.length > 0)
      print(
        columns(
          page === 0 ? Object.keys(found.rows[0] ?? {}) : [],
          found.rows.map((row) => rowOf(row)),
        ),
      );
  }
}

const rowOf = (row: Readonly<Record<string, string>>) => ({ cells: Object.values(row) });

const counts = (all: Readonly<Record<string, number | undefined>>): string =>
  Object.entries(all)
    .map(([name, count]) => `${count} ${printable(name)}`)
    .join(', ');

const censusText = (
  { devices: total, disabled, credentials, refused, claims = {}, partly }: Census,
  provider: string,
): string =>
  [
    `${total} devices on ${printable(provider)}, ${disabled} of them disabled; by credential: ${counts(credentials) || 'none'}`,
    ...(Object.keys(claims).length > 0 ? [`need a new certificate to move there: ${counts(claims)}`] : []),
    ...(Object.keys(refused).length > 0 ? [`cannot go there: ${counts(refused)}`] : []),
    ...(Object.keys(partly).length > 0 ? [`go without: ${counts(partly)}`] : []),
  ].join('\n');

function diffText({ left, right, diff: found, gaps }: Of<'diff'>, { from, to }: { from: string; to: string }): string {
  const more = Object.values(found.different).reduce((sum, one) => sum + one, 0) > found.first.length;
  return [
    censusText(left, from),
    censusText(right, to),
    `${found.same} the same; ${counts(found.different) || 'no difference'}`,
    ...(found.first.length > 0
      ? [
          columns(
            ['device', 'differs'],
            found.first.map(({ id, differs }) => ({ cells: [id, differs.join(' ')] })),
          ),
        ]
      : []),
    ...(more ? ['the others: --all'] : []),
    ...(gaps.length > 0 ? ['', `From ${printable(from)} to ${printable(to)}:`] : []),
    ...gaps.map(({ becomes, text }) => `  ${becomes}: ${text}`),
  ].join('\n');
}
