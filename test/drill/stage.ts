/** The stage of the drill: local clouds, Temporal and a worker, the command line as its users run it, and a log of all of it. */
import { execFileSync, spawn } from 'node:child_process';
import { appendFileSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { baseEnvironment, localCredentials } from '../../emulators/environment.ts';
import { LocalStack, settingsFrom } from '../../emulators/stack.ts';

const root = resolve(import.meta.dirname, '../..');
export const state = join(root, '.local/drill');
export const estate = 'drill';

const services = {
  machines: { type: 'compute', preferred_providers: ['aws'] },
  photos: { type: 'storage', preferred_providers: ['azure'], protect: false },
  maps: { type: 'storage', preferred_providers: ['gcp'], protect: false },
  tiles: { type: 'storage', preferred_providers: ['aws'], protect: false },
};

export interface Said {
  code: number;
  text: string;
}

export class Stage {
  #stack: LocalStack | undefined;
  #mounted: string | undefined;
  /** Markdown. */
  readonly log: string[] = [];
  readonly #file = join(state, 'estate.yaml');

  constructor() {
    rmSync(state, { recursive: true, force: true });
    mkdirSync(state, { recursive: true });
  }

  /** An estate of these services of the drill. */
  has(...names: (keyof typeof services)[]): void {
    const sample = readFileSync(join(root, 'config/multi-cloud.yaml'), 'utf8');
    const providers = sample.slice(sample.indexOf('providers:'), sample.indexOf('\nservices:'));
    const chosen = Object.fromEntries(names.map((name) => [name, services[name]]));
    writeFileSync(
      this.#file,
      `name: ${estate}\n${providers}\nservices: ${JSON.stringify(chosen)}\ncompliance: { data_residency: { us: [us-west-2, westus2, us-central1] } }\n`,
    );
  }

  async up(): Promise<void> {
    this.#stack = new LocalStack({
      ...settingsFrom({ MULTI_CLOUD_PORT: process.env.MULTI_CLOUD_PORT ?? '18800' }, () => {}),
      ...{ state, estateFile: this.#file, operationMs: 150, nameHeldMs: 60_000, pollMs: 50 },
      waits: { callDeadlineMs: 10_000, settleMs: 1000, blockedMs: 300_000 },
    });
    await this.#stack.up();
  }

  async down(): Promise<void> {
    await this.#stack?.down();
    this.#stack = undefined;
    if (this.#mounted) await unmount(this.#mounted);
    this.#mounted = undefined;
  }

  /** What is done behind the back of the night shift, or by somebody else for them. */
  note(text: string): void {
    this.log.push(text, '');
    process.stdout.write(`  ${text}\n`);
  }

  /** Types a command, and logs what it prints. */
  async types(command: string): Promise<Said> {
    const said = await this.runs(command);
    const lines = said.text.trimEnd().split('\n');
    const shown =
      lines.length > 30 ? [...lines.slice(0, 8), `… ${lines.length - 26} lines …`, ...lines.slice(-18)] : lines;
    this.log.push('```console', `$ ${command}`, ...shown.filter(Boolean), `# exit ${said.code}`, '```', '');
    process.stdout.write(`  $ ${command} -> ${said.code}\n`);
    appendFileSync(join(state, 'drill.log'), `$ ${command}\n${said.text}\n# exit ${said.code}\n`);
    return said;
  }

  runs(command: string): Promise<Said> {
    const words = command.replace(/^npx multi-cloud /, '').split(' ');
    const child = spawn(process.execPath, ['--disable-warning=ExperimentalWarning', 'client/cli/main.ts', ...words], {
      cwd: root,
      env: {
        ...baseEnvironment(state),
        USER: 'night',
        NO_COLOR: '1',
        MULTI_CLOUD_STATE: state,
        MULTI_CLOUD_ESTATE: estate,
        MULTI_CLOUD_BY: 'night',
      },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    let text = '';
    const hear = (chunk: Buffer) => {
      text += chunk.toString();
    };
    child.stdout.on('data', hear);
    child.stderr.on('data', hear);
    return new Promise((done) => child.on('close', (code) => done({ code: code ?? -1, text })));
  }

  /** Types the command that the text tells to type. */
  async follows(said: Said, verb: RegExp, ...more: string[]): Promise<Said> {
    const told = [...said.text.matchAll(/npx (multi-cloud [a-z](?:[^\n;,().]|\.(?!\s))*)/g)].map(([, command = '']) =>
      command.trim(),
    );
    const command = told.find((one) => verb.test(one));
    if (!command) throw new Error(`what was printed names no command for ${verb}:\n${said.text}`);
    return this.types([`npx ${command.replace(/[.:]$/, '')}`, ...more].join(' '));
  }

  /** A small file system of its own, until the stage is taken down; false where this user may not mount one. */
  mount(folder: string, size: string): boolean {
    mkdirSync(folder, { recursive: true });
    try {
      execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${size}`, 'tmpfs', folder], { stdio: 'ignore' });
      this.#mounted = folder;
      return true;
    } catch {
      return false;
    }
  }

  /** Somebody else in our account, seen from this machine. */
  stranger(act: 'create' | 'delete', bucket: string): void {
    execFileSync(process.execPath, ['--import', './workers/network.ts', 'test/drill/stranger.ts', act, bucket], {
      cwd: root,
      env: {
        ...baseEnvironment(state),
        ...localCredentials(state),
        MULTI_CLOUD_NETWORK: join(state, 'network.json'),
      },
    });
  }
}

/** Files of a process that has just ended may hold it for a moment. */
async function unmount(folder: string): Promise<void> {
  for (let attempt = 0; ; attempt++) {
    try {
      execFileSync('umount', [folder], { stdio: 'ignore' });
      return;
    } catch (error) {
      if (attempt >= 20) throw error;
      await new Promise((done) => setTimeout(done, 500));
    }
  }
}

/** Fails the drill where what was printed does not say what the night shift must know. */
export function says(said: Said, ...parts: (string | RegExp)[]): void {
  for (const part of parts)
    if (typeof part === 'string' ? !said.text.includes(part) : !part.test(said.text))
      throw new Error(`nothing says ${part}:\n${said.text}`);
}

export function ended(said: Said, code: number): void {
  if (said.code !== code) throw new Error(`exit ${said.code} instead of ${code}:\n${said.text}`);
}
