/** `local` and `worker` start programs of their own; this program imports neither. */
import { spawn } from 'node:child_process';
import { resolve } from 'node:path';
import { Command } from 'commander';
import { Exit } from '../exit.ts';

const root = resolve(import.meta.dirname, '../../..');

/** Runs a program of this project in the foreground and ends as it does. Ctrl-C reaches it through the terminal. */
async function run(file: string, args: readonly string[], preload?: string): Promise<void> {
  const child = spawn(
    process.execPath,
    ['--disable-warning=ExperimentalWarning', ...(preload ? ['--import', preload] : []), resolve(root, file), ...args],
    { stdio: 'inherit', cwd: preload ? root : process.cwd() },
  );
  const ignore = () => {};
  process.on('SIGINT', ignore);
  const code = await new Promise<number>((done) => {
    child.on('error', () => done(1));
    child.on('exit', (status) => done(status ?? 1));
  });
  process.off('SIGINT', ignore);
  if (code !== 0) throw new Exit(code);
}

const passing = (name: string, what: string, example: string, act: (args: string[]) => Promise<void>): Command =>
  new Command(name)
    .description(what)
    .argument('[arguments...]')
    .allowUnknownOption()
    .helpOption(false)
    .addHelpText('after', `\nExample:\n  npx multi-cloud ${example}`)
    .action((args: string[]) => act(args));

export const local = (): Command =>
  passing('local', 'up, down, reset: the Temporal server, clouds and workers of this machine', 'local up', (args) =>
    run('emulators/main.ts', args),
  );

export const worker = (): Command =>
  passing(
    'worker',
    'runs a worker with the settings file that MULTI_CLOUD_SETTINGS or --settings names',
    'worker --settings worker.json',
    (args) => run('workers/main.ts', args, './workers/network.ts'),
  );
