import { Command } from 'commander';
import { confirm, recordedAccounts } from '../confirm.ts';
import { follow } from '../follow.ts';
import { defaultName, type GlobalOptions, inSession, print, printEvent } from '../session.ts';
import { resultText } from '../tables.ts';

interface Options extends GlobalOptions {
  undo?: boolean;
  yes?: boolean;
  wait?: boolean;
  by: string;
}

export const recover = (): Command =>
  new Command('recover')
    .description('finishes, or takes back, what an interrupted run has begun; removes resources that no record knows')
    .argument('<service>', 'key of the service in the estate file')
    .option('--undo', 'take back what was begun instead of finishing it')
    .option('--wait', 'stay when it is blocked')
    .option('--by <name>', 'who asks, for the audit trail', defaultName())
    .option('-y, --yes', 'do not ask')
    .addHelpText(
      'after',
      '\nFor a service whose run was terminated, reset or lost: status shows it as interrupted. What existed before stays; a\nstore that holds data is kept and listed.\n\nExamples:\n  npx multi-cloud recover compute\n  npx multi-cloud recover compute --undo',
    )
    .action((service: string, _: unknown, command: Command) =>
      inSession(command, async (session) => {
        const { undo, wait, yes, by } = command.optsWithGlobals<Options>();
        const what = undo ? `Take back what was begun for ${service}` : `Finish what was begun for ${service}`;
        await confirm(session, what, yes, await recordedAccounts(session));
        const direction = undo ? 'undo' : 'finish';
        const handle = await session.estate.recover({ service, direction, by });
        const result = await follow(session, handle, { wait });
        if (session.json) printEvent({ event: 'result', ...result });
        else print(resultText(result));
      }),
    );
