import { Command } from 'commander';
import type { VerifyResult } from '../../index.ts';
import { confirm, mustBeAsked, recordedAccounts } from '../confirm.ts';
import { Exit, exitCodes } from '../exit.ts';
import { follow } from '../follow.ts';
import { defaultName, type GlobalOptions, inSession, print, printEvent } from '../session.ts';
import { verifiedText } from '../tables.ts';

interface Options extends GlobalOptions {
  from?: string;
  repair?: boolean;
  wait?: boolean;
  yes?: boolean;
  by: string;
}

export const verify = (): Command =>
  new Command('verify')
    .description('compares the placements of a service object by object: exit 1 where they differ')
    .argument('<service>', 'key of the service in the estate file')
    .option('--from <provider>', 'whose placement counts, where several are current; default: the first by name')
    .option('--repair', 'make what a migration keeps of the service equal to the current placement, and compare again')
    .option('--wait', 'stay when it waits for a person or is blocked')
    .option('--by <name>', 'who asks, for the audit trail', defaultName())
    .option('-y, --yes', 'do not ask before it repairs')
    .addHelpText(
      'after',
      '\nBytes are compared by what the clouds have calculated, or read where that cannot be compared. A repair copies what differs,\nand deletes what only the kept placement has; before more than 1,000 deletions (and 1 % of the objects) it asks. It never\ntouches a current placement.\n\nExamples:\n  npx multi-cloud verify firmware\n  npx multi-cloud verify firmware --repair',
    )
    .action((service: string, _: unknown, command: Command) =>
      inSession(command, async (session) => {
        const { from, repair, wait, yes, by } = command.optsWithGlobals<Options>();
        if (repair) {
          mustBeAsked(yes);
          await confirm(session, `Repair what is kept of ${service}`, yes, await recordedAccounts(session));
        }
        const handle = await session.estate.verify({ service, from, repair, by });
        const result: VerifyResult = await follow(session, handle, { wait });
        const { verified } = result;
        if (session.json) printEvent({ event: 'result', ...result });
        else if (verified) print(verifiedText(service, verified));
        if (!verified?.equal) throw new Exit(exitCodes.failed);
      }),
    );
