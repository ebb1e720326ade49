import { Command } from 'commander';
import { Wave } from '../../../model/wave-settings.ts';
import { confirm, mustBeAsked, recordedAccounts } from '../confirm.ts';
import { Exit, exitCodes } from '../exit.ts';
import { leaveOrFollow } from '../follow.ts';
import { defaultName, type GlobalOptions, inSession } from '../session.ts';
import { rehearsalText } from '../tables.ts';

interface Options extends GlobalOptions {
  from: string;
  to: string;
  soak?: string;
  retention?: string;
  versions?: boolean;
  rehearse?: string;
  waves?: string;
  approveWaves?: boolean;
  rate?: string;
  window?: string;
  canary: boolean;
  detach?: boolean;
  wait?: boolean;
  yes?: boolean;
  by: string;
}

export const migrate = (): Command =>
  new Command('migrate')
    .description('moves a service to another cloud while it goes on working; asks before it cuts over')
    .argument('<service>', 'key of the service in the estate file')
    .requiredOption('--from <provider>', 'where it is')
    .requiredOption('--to <provider>', 'where it goes')
    .option(
      '--soak <duration>',
      "how long it can go back with all that was written since; default: the file's migration.soak",
    )
    .option(
      '--retention <duration>',
      "how long the source is kept after that; default: the file's migration.source_retention",
    )
    .option('--versions', "take older versions of objects along; default: the file's migration.versions")
    .option(
      '--rehearse <share>',
      'move only a sample, such as 1%, under another name, with the switch and the way back; then tell what the whole takes',
    )
    .option(
      '--waves <list>',
      "how a fleet goes: percentages such as 1,10,50,100, and cohorts such as group:pumps or site=north; default: the file's migration.waves",
    )
    .option('--approve-waves', 'ask before each wave but the first')
    .option('--rate <devices>', 'devices that are told to go in a second; default: half of what the target takes')
    .option('--window <duration>', "how long a wave has to arrive; default: the file's migration.wave_window")
    .option('--no-canary', 'let no device of each group go there and back before the first wave')
    .option('--detach', 'start it and leave')
    .option('--wait', 'stay when it waits for a person or is blocked')
    .option('--by <name>', 'who asks, for the audit trail', defaultName())
    .option('-y, --yes', 'do not ask before it starts (the cutover is asked about all the same)')
    .addHelpText(
      'after',
      '\nThe target is made, filled and kept in step; then the run waits for approve or reject (exit 3 unless --wait). Until\nthe soak is over everything can be taken back.\n\nExamples:\n  npx multi-cloud migrate firmware --from aws --to gcp --rehearse 1%\n  npx multi-cloud migrate firmware --from aws --to gcp\n  npx multi-cloud migrate iot_core --from aws --to gcp --waves 1,group:pumps,50,100 --approve-waves\n  npx multi-cloud approve migrate/multi-cloud/firmware\n  npx multi-cloud undo firmware            # before the switch\n  npx multi-cloud approve firmware         # in the soak: takes the switch back',
    )
    .action((service: string, _: unknown, command: Command) =>
      inSession(command, async (session) => {
        const { from, to, soak, retention, versions, rehearse, detach, wait, yes, by, ...fleet } =
          command.optsWithGlobals<Options>();
        mustBeAsked(yes);
        if (rehearse !== undefined) {
          const what = `Rehearse the migration of ${service} from ${from} to ${to} with ${rehearse} of its objects`;
          await confirm(session, what, yes, await recordedAccounts(session));
          const handle = await session.estate.rehearse({ service, from, to, sample: rehearse, by });
          return leaveOrFollow(session, handle, { detach, wait, text: rehearsalText });
        }
        const moving = { service, from, to, soak, source_retention: retention, versions, by, ...wavesOf(fleet) };
        await confirm(session, `Migrate ${service} from ${from} to ${to}`, yes, await recordedAccounts(session));
        const handle = await session.estate.migrate(moving);
        await leaveOrFollow(session, handle, { detach, wait });
      }),
    );

/** What is said of a fleet; what is not said, the estate file says. */
function wavesOf({
  waves,
  approveWaves,
  rate,
  window,
  canary,
}: Pick<Options, 'waves' | 'approveWaves' | 'rate' | 'window' | 'canary'>) {
  const devices_per_second = rate === undefined ? undefined : Number(rate);
  if (devices_per_second !== undefined && !(devices_per_second > 0))
    throw wrong(`--rate must be devices a second, for instance 50; found ${rate}`);
  return {
    ...(waves !== undefined && { waves: waves.split(',').map(waveOf) }),
    ...(approveWaves && { approve_waves: true }),
    ...(devices_per_second !== undefined && { devices_per_second }),
    ...(window !== undefined && { wave_window: window }),
    ...(!canary && { canary }),
  };
}

/** `10` or `10%`, `group:<name>`, `<attribute>=<value>`. */
function waveOf(text: string): Wave {
  const share = /^(\d+(\.\d+)?)%?$/.exec(text.trim());
  const found = share
    ? Number(share[1])
    : text.startsWith('group:')
      ? { group: text.slice('group:'.length) }
      : { attribute: text };
  const { data, error } = Wave.safeParse(found);
  if (error)
    throw wrong(
      `--waves: ${text} is no wave; allowed: a percentage such as 10, group:<name>, <attribute>=<value>. A list of devices is given to the workflow itself.`,
    );
  return data;
}

const wrong = (text: string): Exit => new Exit(exitCodes.wrongUsage, text, 'InvalidInput');
