/** `local` and `worker` start programs of their own; this program imports neither. */
import { spawn } from 'node:child_process';
import { resolve } from 'node:path';
import { Command } from 'commander';
import { Exit, exitCodes } from '../exit.ts';
import { localRun, preload, root, stateFolder } from '../session.ts';

/** Runs a program of this project in the foreground and ends as it does. */
async function run(file: string, args: readonly string[], env = process.env, ...flags: string[]): Promise<void> {
  const child = spawn(
    process.execPath,
    ['--disable-warning=ExperimentalWarning', ...flags, resolve(root, file), ...args],
    { stdio: 'inherit', env },
  );
  // Ctrl-C reaches the program through the terminal; whoever stops only this one means both.
  const ignore = () => {};
  const pass = () => child.kill('SIGTERM');
  process.on('SIGINT', ignore).on('SIGTERM', pass);
  const code = await new Promise<number>((done) => {
    child.on('error', () => done(exitCodes.failed));
    child.on('exit', (status) => done(status ?? exitCodes.failed));
  });
  process.off('SIGINT', ignore).off('SIGTERM', pass);
  if (code !== 0) throw new Exit(code);
}

const passing = (name: string, what: string, help: string, act: (args: string[]) => Promise<void>): Command =>
  new Command(name)
    .description(what)
    .argument('[arguments...]')
    .allowUnknownOption()
    .addHelpText('after', `\n${help}`)
    .action((args: string[]) => act(args));

export const local = (): Command =>
  passing(
    'local',
    'up, down, reset, fault, calls: the Temporal server, clouds and workers of this machine',
    'Examples:\n  npx multi-cloud local up\n  npx multi-cloud local down\n  npx multi-cloud local reset   # forgets all that they hold\n  npx multi-cloud local fault outage --cloud azure --for 60s\n  npx multi-cloud local quota CPUS --cloud gcp --limit 4\n  npx multi-cloud local fault -- --help   # every kind of fault\n  npx multi-cloud local calls --mutating',
    (args) => run('emulators/main.ts', args),
  );

export const codecServer = (): Command =>
  passing(
    'codec-server',
    "decodes for Temporal's UI what workers with a payload codec encrypt",
    'Examples:\n  npx multi-cloud codec-server --keys codec-keys.json --token-file token --origin http://127.0.0.1:8233',
    (args) => run('temporal/main.ts', args),
  ).helpOption(false); // the program's own names its options

export const worker = (): Command =>
  passing(
    'worker',
    'runs a worker: one more for the local clouds, or with --real one that acts on real clouds',
    'Examples:\n  npx multi-cloud worker --real --settings worker.json --role control\n  npx multi-cloud worker         # joins what local up has started\n\nSettings and roles: docs/operate.md.',
    (args) => {
      const real = args.includes('--real');
      const rest = args.filter((argument) => argument !== '--real');
      return real ? run('workers/main.ts', rest, process.env, preload()) : localWorker(rest);
    },
  );

/** Without `--real` nothing of this shell's credentials or settings for real clouds gets through, and the guard stands. */
function localWorker(args: readonly string[]): Promise<void> {
  const up = localRun();
  if (!up)
    throw new Exit(
      exitCodes.wrongUsage,
      'No local clouds are up. Start them with `npx multi-cloud local up`; a worker for real clouds needs --real.',
      'InvalidInput',
    );
  const home = resolve(stateFolder(), 'home');
  const kept = ['PATH', 'LANG', 'TMPDIR', 'TERM', 'NO_COLOR'].flatMap((name) => {
    const value = process.env[name];
    return value === undefined ? [] : [[name, value] as const];
  });
  const env = {
    ...Object.fromEntries(kept),
    ...{ HOME: home, AWS_EC2_METADATA_DISABLED: 'true', NO_GCE_CHECK: 'true' },
    ...up.credentials,
    MULTI_CLOUD_NETWORK: up.network,
    MULTI_CLOUD_SETTINGS: up.settings,
  };
  return run('workers/main.ts', args, env, preload());
}
