/** A real HAProxy before two real HTTP servers, with backends as a user's own file has them. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import { type AddressInfo, createServer as createTcpServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';

/** `npm test` finds it; set HAPROXY to another path otherwise. */
export const haproxyPath = process.env.HAPROXY;
if (!haproxyPath)
  process.stderr.write(
    'SKIPPED: tests with HAProxy. None here: install Debian’s `haproxy`, or set HAPROXY to its path.\n',
  );

const levels = ['admin', 'operator', 'user'] as const;

async function freePort(): Promise<number> {
  const server = createTcpServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}

export interface Backend {
  name: string;
  /** Server lines after the word: `aws 127.0.0.1:8080 weight 100`. */
  servers: readonly string[];
}

export class LocalHaproxy {
  /** Of its runtime API, by what it may do. */
  readonly api: Readonly<Record<(typeof levels)[number], string>>;
  readonly #front: number;
  readonly #process: ChildProcess;

  private constructor(api: LocalHaproxy['api'], front: number, child: ChildProcess) {
    this.api = api;
    this.#front = front;
    this.#process = child;
  }

  /** The first backend gets the traffic. */
  static async start(backends: readonly Backend[]): Promise<LocalHaproxy> {
    const [admin, operator, user, front] = [await freePort(), await freePort(), await freePort(), await freePort()];
    const api = { admin: `127.0.0.1:${admin}`, operator: `127.0.0.1:${operator}`, user: `127.0.0.1:${user}` };
    const file = join(mkdtempSync(join(tmpdir(), 'haproxy-')), 'haproxy.cfg');
    const text = [
      'global',
      ...levels.map((level) => `  stats socket ipv4@${api[level]} level ${level}`),
      'defaults',
      '  mode http',
      '  timeout connect 1s',
      '  timeout client 5s',
      '  timeout server 5s',
      'frontend front',
      `  bind 127.0.0.1:${front}`,
      `  default_backend ${backends[0]?.name}`,
      ...backends.flatMap(({ name, servers }) => [`backend ${name}`, ...servers.map((one) => `  server ${one}`)]),
    ];
    writeFileSync(file, `${text.join('\n')}\n`);
    const child = spawn(haproxyPath ?? '', ['-f', file, '-db', '-q'], { stdio: 'ignore' });
    const started = new LocalHaproxy(api, front, child);
    for (let tries = 100; ; tries--)
      try {
        await started.get();
        return started;
      } catch (error) {
        if (tries === 0 || child.exitCode !== null) throw error;
        await setTimeout(50);
      }
  }

  /** What one request is answered. */
  async get(): Promise<{ status: number; text: string }> {
    const answer = await fetch(`http://127.0.0.1:${this.#front}/`);
    return { status: answer.status, text: await answer.text() };
  }

  /** How many of so many requests each server has answered. */
  async tally(requests: number): Promise<Record<string, number>> {
    const seen: Record<string, number> = {};
    for (let done = 0; done < requests; done++) {
      const { text } = await this.get();
      seen[text] = (seen[text] ?? 0) + 1;
    }
    return seen;
  }

  async stop(): Promise<void> {
    this.#process.kill('SIGTERM');
    await once(this.#process, 'exit');
  }
}

/** Answers its name, or that it fails. */
export class NamedServer {
  failing = false;
  readonly #server: Server;

  private constructor(server: Server) {
    this.#server = server;
  }

  static async start(name: string): Promise<NamedServer> {
    const server = createServer((_, answer) => {
      answer.writeHead(named.failing ? 500 : 200).end(name);
    });
    const named = new NamedServer(server);
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    return named;
  }

  get address(): string {
    return `127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  async stop(): Promise<void> {
    this.#server.closeAllConnections();
    this.#server.close();
    await once(this.#server, 'close');
  }
}
