import { Command } from 'commander';
import { confirm, mustBeAsked, recordedAccounts } from '../confirm.ts';
import { leaveOrFollow } from '../follow.ts';
import { defaultName, type GlobalOptions, inSession } from '../session.ts';
import { rehearsalText } from '../tables.ts';

interface Options extends GlobalOptions {
  from: string;
  to: string;
  soak?: string;
  retention?: string;
  rehearse?: string;
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
    .option(
      '--rehearse <share>',
      'move only a sample, such as 1%, under another name, with the switch and the way back; then tell what the whole takes',
    )
    .option('--detach', 'start it and leave')
    .option('--wait', 'stay when it waits for a person or is blocked')
    .option('--by <name>', 'who asks, for the audit trail', defaultName())
    .option('-y, --yes', 'do not ask before it starts (the cutover is asked about all the same)')
    .addHelpText(
      'after',
      '\nThe target is made, filled and kept in step; then the run waits for approve or reject (exit 3 unless --wait). Until\nthe soak is over everything can be taken back.\n\nExamples:\n  npx multi-cloud migrate firmware --from aws --to gcp --rehearse 1%\n  npx multi-cloud migrate firmware --from aws --to gcp\n  npx multi-cloud approve migrate/multi-cloud/firmware\n  npx multi-cloud undo firmware            # before the switch\n  npx multi-cloud approve firmware         # in the soak: takes the switch back',
    )
    .action((service: string, _: unknown, command: Command) =>
      inSession(command, async (session) => {
        const { from, to, soak, retention, rehearse, detach, wait, yes, by } = command.optsWithGlobals<Options>();
        mustBeAsked(yes);
        if (rehearse !== undefined) {
          const what = `Rehearse the migration of ${service} from ${from} to ${to} with ${rehearse} of its objects`;
          await confirm(session, what, yes, await recordedAccounts(session));
          const handle = await session.estate.rehearse({ service, from, to, sample: rehearse, by });
          return leaveOrFollow(session, handle, { detach, wait, text: rehearsalText });
        }
        await confirm(session, `Migrate ${service} from ${from} to ${to}`, yes, await recordedAccounts(session));
        const handle = await session.estate.migrate({ service, from, to, soak, source_retention: retention, by });
        await leaveOrFollow(session, handle, { detach, wait });
      }),
    );
