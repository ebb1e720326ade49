/** The connection map and its guard, in a process of their own: whatever a program asks for, it ends at loopback. */
import { execFile } from 'node:child_process';
import { mkdtempSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { baseEnvironment } from '../../emulators/environment.ts';

const root = join(import.meta.dirname, '../..');
const folder = mkdtempSync(join(tmpdir(), 'network-'));

/** Runs a program with this map and returns what it printed. */
async function run(program: string, settings: object): Promise<string> {
  const network = join(folder, 'network.json');
  writeFileSync(network, JSON.stringify(settings));
  const file = join(folder, 'program.mjs');
  writeFileSync(file, program);
  const { stdout } = await promisify(execFile)(process.execPath, ['--import', join(root, 'workers/network.ts'), file], {
    env: { PATH: process.env.PATH, MULTI_CLOUD_NETWORK: network },
  });
  return stdout.trim();
}

describe('the connection map', () => {
  const server = createServer((request, answer) => answer.end(`served ${request.headers.host}`));
  let port = 0;
  beforeAll(async () => {
    await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
    port = (server.address() as AddressInfo).port;
  });
  afterAll(() => void server.close());
  const settings = () => ({
    loopbackOnly: true,
    routes: [{ host: '*.example.com', port: 80, address: '127.0.0.1', to: port }],
  });

  it('leads a real host name to the address that answers for it, for every kind of client', async () => {
    const printed = await run(
      `import http from 'node:http'; import net from 'node:net'; import dns from 'node:dns/promises';
      console.log(await (await fetch('http://a.example.com/')).text());
      await new Promise((done) => http.get('http://b.example.com/', (answer) => answer.on('data', (text) => { console.log(String(text)); done(); })));
      const { address } = await dns.lookup('c.example.com');
      const socket = net.connect(80, address, () => { console.log('connected'); socket.destroy(); });`,
      settings(),
    );
    expect(printed.split('\n')).toEqual(['served a.example.com', 'served b.example.com', 'connected']);
  });

  it.each([
    ['an unknown name', `await fetch('http://example.org/')`],
    ['an unmapped port', `await fetch('http://a.example.com:81/')`],
    ['an address', `await fetch('http://192.0.2.1/')`],
    ['the metadata service', `await fetch('http://169.254.169.254/latest/meta-data/')`],
    ['a plain socket', `await new Promise((done, fail) => net.connect(443, '198.51.100.7', done).on('error', fail))`],
    [
      'TLS',
      `await new Promise((done, fail) => tls.connect({ host: '2001:db8::1', port: 443 }, done).on('error', fail))`,
    ],
    ['a name that is only looked up', `await dns.lookup('example.org')`],
  ])('refuses %s', async (_, attempt) => {
    const printed = await run(
      `import net from 'node:net'; import tls from 'node:tls'; import dns from 'node:dns/promises';
      try { ${attempt}; console.log('reached'); } catch (error) { console.log((error.cause ?? error).message); }`,
      settings(),
    );
    expect(printed).toMatch(/refused: this process may only reach the local clouds/);
  });
});

describe('the environment of the local mode', () => {
  it('carries nothing that the shell has exported for a real cloud', () => {
    const exported = {
      AWS_ACCESS_KEY_ID: 'AKIAREAL',
      AWS_PROFILE: 'prod',
      AZURE_CLIENT_SECRET: 'real',
      GOOGLE_APPLICATION_CREDENTIALS: '/real',
      HTTPS_PROXY: 'http://proxy',
    };
    const before = { ...process.env };
    Object.assign(process.env, exported);
    try {
      const made = baseEnvironment(folder);
      for (const [name, value] of Object.entries(exported)) {
        expect(made[name]).not.toBe(value);
        expect(Object.values(made)).not.toContain(value);
      }
      expect(made.HOME).toBe(join(folder, 'home'));
    } finally {
      process.env = before;
    }
  });
});
