import { Command } from 'commander';
import { confirm, recordedAccounts } from '../confirm.ts';
import { Exit, exitCodes } from '../exit.ts';
import { follow } from '../follow.ts';
import { type GlobalOptions, inSession, print, printEvent } from '../session.ts';
import { resultText } from '../tables.ts';

interface Options extends GlobalOptions {
  all?: boolean;
  confirm?: string;
  yes?: boolean;
  wait?: boolean;
  by: string;
}

export const remove = (): Command =>
  new Command('remove')
    .description('takes a service off all its clouds; what holds data is protected unless --confirm names it')
    .argument('[service]', 'key of the service in the estate file')
    .option('--all', 'every service of the estate')
    .option(
      '--confirm <estate/service>',
      'remove a protected service with its data; with --all: the name of the estate',
    )
    .option('--wait', 'stay when it is blocked')
    .option('--by <name>', 'who asks, for the audit trail', process.env.USER ?? '')
    .option('-y, --yes', 'do not ask (protected services need --confirm all the same)')
    .addHelpText(
      'after',
      '\nExamples:\n  npx multi-cloud remove compute\n  npx multi-cloud remove firmware --confirm multi-cloud/firmware',
    )
    .action((service: string | undefined, _: unknown, command: Command) =>
      inSession(command, async (session) => {
        const options = command.optsWithGlobals<Options>();
        if ((service === undefined) === !options.all)
          throw new Exit(exitCodes.wrongUsage, 'Name one service, or give --all.');
        const { estate } = session;
        const services =
          service !== undefined
            ? [service]
            : (await estate.status()).filter(({ placements }) => placements.length > 0).map((one) => one.service);
        await confirm(
          session,
          `Remove ${services.join(', ') || 'nothing'}`,
          options.yes,
          await recordedAccounts(session),
        );
        for (const one of services) {
          const confirmation =
            options.all && options.confirm === estate.name ? `${estate.name}/${one}` : options.confirm;
          const handle = await estate.remove({ service: one, confirm: confirmation, by: options.by });
          const result = await follow(session, handle, { wait: options.wait });
          if (session.json) printEvent({ event: 'result', ...result });
          else print(`${one} ${resultText(result)}`);
        }
      }),
    );
