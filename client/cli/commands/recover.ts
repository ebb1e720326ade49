import { Command } from 'commander';
import type { EstateClient, OperationHandle, OperationResult, Rebuilt } from '../../index.ts';
import { confirm, recordedAccounts } from '../confirm.ts';
import { Exit, exitCodes } from '../exit.ts';
import { follow } from '../follow.ts';
import { defaultName, type GlobalOptions, inSession, print, printEvent } from '../session.ts';
import { rebuiltText, resultText } from '../tables.ts';

interface Options extends GlobalOptions {
  undo?: boolean;
  rebuild?: true | string;
  confirm?: string;
  yes?: boolean;
  wait?: boolean;
  by: string;
}

export const recover = (): Command =>
  new Command('recover')
    .description(
      'finishes, or takes back, what an interrupted run has begun; removes resources that no record knows; after a lost Temporal database, rebuilds the records',
    )
    .argument('[service]', 'key of the service in the estate file')
    .option('--undo', 'take back what was begun instead of finishing it')
    .option(
      '--rebuild [uid]',
      'make the records of the estate again from its records buckets; read-only until they are confirmed',
    )
    .option('--confirm <uid>', 'end the read-only time of rebuilt records')
    .option('--wait', 'stay when it is blocked')
    .option('--by <name>', 'who asks, for the audit trail', defaultName())
    .option('-y, --yes', 'do not ask')
    .addHelpText(
      'after',
      '\nFor a service whose run was terminated, reset or lost: status shows it as interrupted. What existed before stays; a\nstore that holds data is kept and listed.\n\nExamples:\n  npx multi-cloud recover compute\n  npx multi-cloud recover compute --undo\n  npx multi-cloud recover --rebuild',
    )
    .action((service: string | undefined, _: unknown, command: Command) =>
      inSession(command, async (session) => {
        const options = command.optsWithGlobals<Options>();
        const { what, start } = meant(session.estate, service, options);
        await confirm(session, what, options.yes, await recordedAccounts(session));
        const result: OperationResult & { rebuilt?: Rebuilt } = await follow(session, await start(), options);
        if (session.json) printEvent({ event: 'result', ...result });
        else print(result.rebuilt ? rebuiltText(result.rebuilt, result.orphans) : resultText(result));
      }),
    );

/** One of three things: a service's run, the records of the estate, or their confirmation. */
function meant(
  estate: EstateClient,
  service: string | undefined,
  { undo, rebuild, confirm: uid, by }: Options,
): { what: string; start: () => Promise<OperationHandle> } {
  if ([service, rebuild, uid].filter((one) => one !== undefined).length !== 1)
    throw new Exit(exitCodes.wrongUsage, 'Name one service, or give --rebuild, or --confirm UID.', 'InvalidInput');
  if (uid !== undefined)
    return { what: `Confirm the rebuilt records of UID ${uid}`, start: () => estate.confirm({ uid, by }) };
  if (rebuild !== undefined)
    return {
      what: 'Rebuild the records from what the clouds hold',
      start: () => estate.rebuild({ by, ...(typeof rebuild === 'string' && { uid: rebuild }) }),
    };
  const direction = undo ? 'undo' : 'finish';
  return {
    what: undo ? `Take back what was begun for ${service}` : `Finish what was begun for ${service}`,
    start: () => estate.recover({ service: service ?? '', direction, by }),
  };
}
