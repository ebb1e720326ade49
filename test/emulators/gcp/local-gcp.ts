/** A local Google Cloud of a test's own, as a process that can be killed, called over plain HTTP with a real access token. */
import { type ChildProcess, spawn } from 'node:child_process';
import { createSign } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import http from 'node:http';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { z } from 'zod';
import { authority } from '../../../emulators/certificates.ts';
import { serviceAccountKeyFile } from '../../../emulators/gcp/service-account-key.ts';
import type { LocalCloudSettings } from '../../../emulators/local-cloud.ts';
import type { Json, JsonObject } from '../../../model/service.ts';

export const project = 'test-project';

export interface Reply {
  status: number;
  headers: http.IncomingHttpHeaders;
  bytes: Buffer;
  /** The parsed body; `{}` where there is none. */
  body: JsonObject;
}

const Key = z.object({ private_key_id: z.string(), private_key: z.string(), client_email: z.string() });

export class LocalGcp {
  readonly #folder = mkdtempSync(join(tmpdir(), 'local-gcp-'));
  #port = 0;
  #child: ChildProcess | undefined;
  #token = '';

  async start(): Promise<void> {
    this.#port ||= await freePorts(3);
    const certificates = join(this.#folder, 'certificates');
    await authority(certificates);
    const settings: LocalCloudSettings = {
      state: join(this.#folder, 'gcp'),
      port: this.#port,
      ports: 3,
      certificates,
      operationMs: 0,
      nameHeldMs: 60_000,
      account: project,
    };
    const child = spawn(process.execPath, ['emulators/gcp/main.ts'], {
      cwd: resolve(import.meta.dirname, '../../..'),
      env: { PATH: process.env.PATH, LOCAL_CLOUD: JSON.stringify(settings) },
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    this.#child = child;
    await new Promise<void>((ready, failed) => {
      child.stdout.once('data', () => ready());
      child.once('exit', (code) => failed(new Error(`the local cloud ended with ${code}`)));
    });
    if (!this.#token) this.#token = await this.signIn();
  }

  /** As `kill -9` does; the state stays. */
  async kill(): Promise<void> {
    const child = this.#child;
    if (!child || child.exitCode !== null || child.signalCode !== null) return;
    const ended = new Promise((done) => child.once('exit', done));
    child.kill('SIGKILL');
    await ended;
  }

  async remove(): Promise<void> {
    await this.kill();
    rmSync(this.#folder, { recursive: true, force: true });
  }

  /** An access token for a JWT signed with the owner's key; `overrides` go into its claims. */
  async signIn(overrides: JsonObject = {}): Promise<string> {
    const answer = await this.grant(overrides);
    if (typeof answer.body.access_token !== 'string') throw new Error(JSON.stringify(answer.body));
    return answer.body.access_token;
  }

  grant(overrides: JsonObject): Promise<Reply> {
    const file = serviceAccountKeyFile(join(this.#folder, 'gcp'), project, 'owner');
    const key = Key.parse(JSON.parse(readFileSync(file, 'utf8')));
    const now = Math.floor(Date.now() / 1000);
    const part = (value: Json): string => Buffer.from(JSON.stringify(value)).toString('base64url');
    const claims = {
      iss: key.client_email,
      scope: 'https://www.googleapis.com/auth/cloud-platform',
      aud: 'https://oauth2.googleapis.com/token',
      iat: now,
      exp: now + 3600,
      ...overrides,
    };
    const signed = `${part({ alg: 'RS256', typ: 'JWT', kid: key.private_key_id })}.${part(claims)}`;
    const signature = createSign('RSA-SHA256').update(signed).sign(key.private_key, 'base64url');
    const form = new URLSearchParams({
      grant_type: 'urn:ietf:params:oauth:grant-type:jwt-bearer',
      assertion: `${signed}.${signature}`,
    });
    return this.call('POST', 'oauth2.googleapis.com', '/token', String(form), { authorization: '' });
  }

  /** `path` with its query. A body that is neither text nor bytes is sent as JSON. */
  call(
    method: string,
    host: string,
    path: string,
    body?: Json | Buffer,
    headers: Record<string, string> = {},
  ): Promise<Reply> {
    const sent =
      body === undefined || body === null
        ? undefined
        : typeof body === 'string' || Buffer.isBuffer(body)
          ? body
          : JSON.stringify(body);
    return new Promise((done, failed) => {
      const request = http.request(
        {
          host: '127.0.0.1',
          port: this.#port,
          method,
          path,
          headers: {
            authorization: `Bearer ${this.#token}`,
            ...headers,
            host,
            ...(sent === undefined ? {} : { 'content-length': Buffer.byteLength(sent) }),
          },
        },
        (response) => {
          const chunks: Buffer[] = [];
          response.on('data', (chunk: Buffer) => chunks.push(chunk));
          response.on('error', failed);
          response.on('end', () => {
            const bytes = Buffer.concat(chunks);
            const isJson = /json/.test(response.headers['content-type'] ?? '') && bytes.length > 0;
            done({
              status: response.statusCode ?? 0,
              headers: response.headers,
              bytes,
              body: isJson ? z.record(z.string(), z.json()).parse(JSON.parse(bytes.toString('utf8'))) : {},
            });
          });
        },
      );
      request.on('error', failed);
      request.end(sent);
    });
  }
}

/** The first of so many free ports in a row. */
async function freePorts(count: number): Promise<number> {
  for (;;) {
    const first = await listening(0);
    if (first === undefined || first + count > 65_536) continue;
    const others = Array.from({ length: count - 1 }, (_, i) => listening(first + 1 + i));
    if (!(await Promise.all(others)).includes(undefined)) return first;
  }
}

/** The port that could be listened on; undefined where it is taken. */
async function listening(asked: number): Promise<number | undefined> {
  const server = createServer();
  const free = await new Promise<boolean>((done) => {
    server.once('error', () => done(false)).listen(asked, '127.0.0.1', () => done(true));
  });
  const address = server.address();
  if (free) await new Promise((done) => server.close(done));
  return free && typeof address === 'object' && address ? address.port : undefined;
}
