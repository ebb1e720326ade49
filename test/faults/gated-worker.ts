/** A worker as it runs in production, which asks its test before and after each activity whether to go on; a test may kill it. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';

const root = join(import.meta.dirname, '../..');

/** What a worker asks at its gate. */
export interface Question {
  id: number;
  when: 'before' | 'after';
  activityType: string;
  taskQueue: string;
  attempt: number;
  workflowType: string;
  workflowId: string;
  runId: string;
}

interface Gate {
  /** File of its settings. */
  settings: string;
  answer: (question: Question) => Promise<'go' | 'hang'>;
  failed: (error: unknown) => void;
  /** What fails in passing is tried again after so long, and not after seconds that grow. */
  retryMs?: number;
}

export class GatedWorker {
  readonly #gate: Gate;
  #child: ChildProcess | undefined;

  constructor(gate: Gate) {
    this.#gate = gate;
  }

  /** Resolves once it serves its queues. */
  async start(): Promise<void> {
    const { settings, answer, failed, retryMs } = this.#gate;
    const child = spawn(process.execPath, ['workers/main.ts'], {
      cwd: root,
      env: {
        ...process.env,
        MULTI_CLOUD_SETTINGS: settings,
        NODE_OPTIONS: `${process.env.NODE_OPTIONS} --import ${pathToFileURL(join(import.meta.dirname, 'gate.mjs')).href}`,
        ...(retryMs !== undefined && { MULTI_CLOUD_GATE_RETRY_MS: String(retryMs) }),
      },
      stdio: ['ignore', 'pipe', 'ignore', 'ipc'],
    });
    this.#child = child;
    child.on('message', (question: Question) => {
      answer(question)
        .catch((error: unknown) => {
          failed(error);
          return 'go';
        })
        .then((said) => child.connected && child.send({ id: question.id, answer: said }));
    });
    await new Promise<void>((resolve, reject) => {
      child.stdout?.on('data', (chunk: Buffer) => /^ready /m.test(chunk.toString()) && resolve());
      child.once('exit', (code) => reject(new Error(`the worker ended before it was ready: exit code ${code}`)));
    });
  }

  async kill(): Promise<void> {
    const child = this.#child;
    if (!child || child.exitCode !== null || child.signalCode !== null) return;
    child.kill('SIGKILL');
    await once(child, 'exit');
  }
}
