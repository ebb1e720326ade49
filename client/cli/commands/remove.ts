import { Command } from 'commander';
import { statefulTypes } from '../../../model/service.ts';
import { ask, confirm, mustBeAsked, recordedAccounts } from '../confirm.ts';
import { Exit, exitCodes } from '../exit.ts';
import { follow } from '../follow.ts';
import { defaultName, type GlobalOptions, inSession, print, printEvent, printJson } from '../session.ts';
import { resultText } from '../tables.ts';

interface Options extends GlobalOptions {
  all?: boolean;
  confirm?: string;
  retained?: boolean;
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
    .option(
      '--retained',
      'only what a migration has left behind, as far as its time has come; with --confirm all of it',
    )
    .option('--wait', 'stay when it is blocked')
    .option('--by <name>', 'who asks, for the audit trail', defaultName())
    .option('-y, --yes', 'do not ask (protected services need --confirm all the same)')
    .addHelpText(
      'after',
      '\nExamples:\n  npx multi-cloud remove compute\n  npx multi-cloud remove firmware --confirm multi-cloud/firmware',
    )
    .action((service: string | undefined, _: unknown, command: Command) =>
      inSession(command, async (session) => {
        const options = command.optsWithGlobals<Options>();
        if ((service === undefined) === !options.all)
          throw new Exit(exitCodes.wrongUsage, 'Name one service, or give --all.', 'InvalidInput');
        mustBeAsked(options.yes);
        const { estate } = session;
        const running = (await estate.status()).filter(({ placements }) => placements.length > 0);
        const services = service !== undefined ? [service] : running.map((one) => one.service);
        if (services.length === 0) {
          if (session.json) printJson({ removed: [] });
          else print('Nothing runs, so there is nothing to remove.');
          return;
        }
        await confirm(session, `Remove ${services.join(', ')}`, options.yes, await recordedAccounts(session));
        const holdsData =
          !options.retained &&
          running.some((one) => one.service === service && statefulTypes.some((type) => type === one.type));
        const typed =
          options.confirm ??
          (holdsData && !options.yes
            ? await ask(`It holds data. To delete that too, type ${estate.name}/${service}: `)
            : undefined);
        const whole = options.all && options.confirm === estate.name;
        await eachOf(services, async (one) => {
          const confirmed = whole ? `${estate.name}/${one}` : typed || undefined;
          const handle = await estate.remove({
            service: one,
            confirm: confirmed,
            retained: options.retained,
            by: options.by,
          });
          const result = await follow(session, handle, { wait: options.wait });
          if (session.json) printEvent({ event: 'result', ...result });
          else print(`${one} ${resultText(result)}`);
        });
      }),
    );

/** One that is refused does not keep the others; the command then ends as the first that was. */
async function eachOf(services: readonly string[], act: (service: string) => Promise<void>): Promise<void> {
  const ends: Exit[] = [];
  for (const service of services)
    await act(service).catch((error: unknown) => {
      if (!(error instanceof Exit) || services.length === 1) throw error;
      ends.push(error);
    });
  const [first] = ends;
  if (first) throw new Exit(first.code, ends.map(({ message }) => message).join('\n'), first.type, first.details);
}
