/** `npx multi-cloud <command>`. */
import { Command, CommanderError, Option } from 'commander';
import { conflicts } from './commands/conflicts.ts';
import { abandon, audit, cancel, pause, resume, retry, undo, watch } from './commands/control.ts';
import { approve, decide, reject } from './commands/decide.ts';
import { deploy } from './commands/deploy.ts';
import { devices } from './commands/devices.ts';
import { doctor } from './commands/doctor.ts';
import { migrate } from './commands/migrate.ts';
import { permissions } from './commands/permissions.ts';
import { plan } from './commands/plan.ts';
import { codecServer, local, worker } from './commands/programs.ts';
import { recover } from './commands/recover.ts';
import { remove } from './commands/remove.ts';
import { replicate } from './commands/replicate.ts';
import { costs, status } from './commands/status.ts';
import { traffic } from './commands/traffic.ts';
import { verify } from './commands/verify.ts';
import { Exit, exitCodes, explain } from './exit.ts';
import { addressOf, type GlobalOptions, printEvent } from './session.ts';

const program = new Command('multi-cloud')
  .description(
    'Deploys an IoT estate on AWS, Azure and GCP, and moves it between them, with durable Temporal workflows.',
  )
  .option(
    '--address <host:port>',
    "Temporal's address (default: MULTI_CLOUD_ADDRESS, TEMPORAL_ADDRESS, the local stack)",
  )
  .option('--namespace <name>', 'Temporal namespace of the estate')
  .addOption(new Option('--estate <name>', 'name of the estate').default('multi-cloud').env('MULTI_CLOUD_ESTATE'))
  .option('--json', 'one JSON document on stdout; while following, one line an event and the result last')
  .showHelpAfterError('Run it with --help to see what it takes.')
  .exitOverride()
  .addHelpText(
    'after',
    '\nExit codes: 0 done, 1 failed, 2 wrong usage or invalid input, 3 waits for a person, 4 blocked, 5 undone cleanly, 6 Temporal not reachable.\n\nA first tour:\n  npx multi-cloud plan\n  npx multi-cloud deploy\n  npx multi-cloud status',
  );
for (const command of [
  plan,
  deploy,
  status,
  costs,
  migrate,
  replicate,
  traffic,
  approve,
  reject,
  decide,
  watch,
  audit,
  retry,
  pause,
  resume,
  abandon,
  undo,
  cancel,
  remove,
  recover,
  devices,
  verify,
  conflicts,
  doctor,
  permissions,
  worker,
  codecServer,
  local,
])
  program.addCommand(command().exitOverride().showHelpAfterError(true));

function document({ code, type, message: text, details: { message = text, ...more } }: Exit): object {
  return { event: 'end', exit: code, error: { type: type || 'Failed', message }, ...more };
}

/** Text for people on stderr; for programs a document on stdout, as for every other outcome. */
function end(exit: Exit): void {
  const { json } = program.opts<GlobalOptions>();
  if (json && exit.type) printEvent(document(exit));
  if (exit.message) process.stderr.write(`${exit.message}\n`);
  process.exitCode = exit.code;
}

try {
  await program.parseAsync();
} catch (error) {
  if (error instanceof CommanderError) process.exitCode = error.exitCode === 0 ? exitCodes.done : exitCodes.wrongUsage;
  else end(error instanceof Exit ? error : explain(error, addressOf(program.opts<GlobalOptions>())));
}
// A run that was left is still being listened to; nothing may hold the process once all is written.
for (const stream of [process.stdout, process.stderr])
  await new Promise<void>((done) => stream.write('', () => done()));
process.exit();
