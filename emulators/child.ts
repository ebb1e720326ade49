/** One supervised process: started in a group of its own, its output in a log file, started again when it dies. */
import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, mkdirSync, openSync, readFileSync, statSync, truncateSync, writeSync } from 'node:fs';
import { dirname } from 'node:path';
import { endAll, type Identity, startOf } from './process-identity.ts';

export interface ChildSettings {
  name: string;
  command: string;
  args: readonly string[];
  cwd: string;
  env: Readonly<Record<string, string>>;
  log: string;
  /** Resolves once it can be used; without it, the program says so with a line `ready …`. */
  probe?: (() => Promise<boolean>) | undefined;
  /** How long it may take to become ready. */
  readyMs: number;
  /** How long it may take to end after SIGTERM. */
  graceMs: number;
  /** Told when it died and when it is back. */
  report: (text: string) => void;
  /** Told each time a process was started for it. */
  onSpawn?: (() => void) | undefined;
}

const logLimit = 20 * 1024 * 1024;

export class Child {
  readonly settings: ChildSettings;
  #process: ChildProcess | undefined;
  #identity: Identity | undefined;
  #ending = false;
  #failures = 0;

  constructor(settings: ChildSettings) {
    this.settings = settings;
  }

  get identity(): Identity | undefined {
    return this.#identity;
  }

  /** Starts it and waits until it is ready. Returns what followed `ready` on its line. */
  async start(): Promise<string> {
    const { name, command, args, cwd, env, log } = this.settings;
    mkdirSync(dirname(log), { recursive: true });
    const file = openSync(log, 'a');
    if (statSync(log).size > logLimit) truncateSync(log);
    const offset = statSync(log).size;
    const child = spawn(command, args, { cwd, env, stdio: ['ignore', 'pipe', file], detached: true });
    this.#process = child;
    let gone: string | undefined;
    const ended = new Promise<undefined>((resolve) => {
      child.once('error', (error) => {
        gone = error.message;
        resolve(undefined);
      });
      // Not `close`: a grandchild may hold the pipe open after it.
      child.once('exit', (code, signal) => {
        gone = signal ? `killed by ${signal}` : `exit code ${code}`;
        resolve(undefined);
      });
    });
    const started = child.pid === undefined ? undefined : startOf(child.pid);
    if (child.pid !== undefined && started !== undefined) this.#identity = { pid: child.pid, started };
    this.settings.onSpawn?.();

    const said = new Promise<string>((resolve) => {
      let line = '';
      let found = false;
      child.stdout?.on('data', (chunk: Buffer) => {
        writeSync(file, chunk);
        if (found) return;
        line += chunk.toString('utf8');
        const ready = /^ready(?: (.*))?$/m.exec(line.slice(0, line.lastIndexOf('\n') + 1));
        if (ready) {
          found = true;
          resolve(ready[1] ?? '');
        }
      });
      child.stdout?.once('close', () => closeSync(file));
    });
    const answer = await Promise.race<string | undefined>([
      this.settings.probe ? this.#probe(this.settings.probe, () => gone !== undefined) : said,
      ended,
      new Promise<undefined>((resolve) => setTimeout(() => resolve(undefined), this.settings.readyMs).unref()),
    ]);
    if (answer === undefined) {
      await this.#end();
      const tail = readFileSync(log).subarray(offset).toString('utf8').trimEnd().split('\n').slice(-12).join('\n  ');
      throw new Error(
        `${name} ${gone ? `ended before it was ready (${gone})` : `was not ready after ${this.settings.readyMs / 1000} s`}. Last of ${log}:\n  ${tail}`,
      );
    }
    child.once('exit', (code, signal) => this.#died(signal ?? `exit code ${code}`));
    return answer;
  }

  async #probe(probe: () => Promise<boolean>, isGone: () => boolean): Promise<string> {
    while (!isGone() && !(await probe().catch(() => false))) await new Promise((resolve) => setTimeout(resolve, 40));
    return '';
  }

  #died(how: string): void {
    if (this.#ending) return;
    const { name, report, log } = this.settings;
    const wait = Math.min(100 * 2 ** this.#failures, 10_000);
    this.#failures++;
    report(`${name} died (${how}); starting it again in ${wait / 1000} s (log: ${log})`);
    const leftovers = this.#identity;
    setTimeout(async () => {
      // What it had started itself may still hold its ports.
      if (leftovers) await killGroup(leftovers.pid);
      if (this.#ending) return;
      try {
        await this.start();
        report(`${name} is back`);
        setTimeout(() => {
          this.#failures = 0;
        }, 30_000).unref();
      } catch (error) {
        report((error as Error).message);
        this.#died('could not be started');
      }
    }, wait);
  }

  async #end(): Promise<void> {
    if (this.#identity) await endAll([this.#identity], this.settings.graceMs);
    if (this.#identity) await killGroup(this.#identity.pid);
  }

  async stop(): Promise<void> {
    this.#ending = true;
    await this.#end();
    this.#process?.stdout?.destroy();
  }
}

/** What a process that is gone had started in its group. The group's ID stays taken for as long as one of them lives. */
async function killGroup(pid: number): Promise<void> {
  try {
    process.kill(-pid, 'SIGKILL');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}
