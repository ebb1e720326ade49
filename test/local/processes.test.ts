/** What `local up` and `local down` promise about processes, ports and the environment. */
import { spawn } from 'node:child_process';
import { mkdtempSync } from 'node:fs';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Child } from '../../emulators/child.ts';
import { baseEnvironment } from '../../emulators/environment.ts';
import { checkPorts, span } from '../../emulators/ports.ts';
import { endAll, isAlive, signalGroup, startOf } from '../../emulators/process-identity.ts';

const folder = mkdtempSync(join(tmpdir(), 'processes-'));
const until = async (condition: () => boolean): Promise<void> => {
  while (!condition()) await new Promise((resolve) => setTimeout(resolve, 20));
};
const child = (script: string, report: (text: string) => void = () => {}): Child =>
  new Child({
    name: 'part',
    command: process.execPath,
    args: ['-e', script],
    cwd: folder,
    env: { PATH: process.env.PATH ?? '' },
    log: join(folder, 'part.log'),
    readyMs: 10_000,
    graceMs: 2000,
    report,
  });

describe('a supervised process', () => {
  it('is started again when it is killed, and what it had started does not stay behind', async () => {
    const said: string[] = [];
    const script = `
      const { spawn } = require('node:child_process');
      const grandchild = spawn(process.execPath, ['-e', 'setInterval(() => {}, 1000)'], { stdio: 'ignore' });
      console.log('ready ' + grandchild.pid);
      setInterval(() => {}, 1000);`;
    const part = child(script, (text) => said.push(text));
    const grandchild = Number(await part.start());
    const first = part.identity?.pid ?? 0;
    process.kill(first, 'SIGKILL');
    await until(() => said.some((text) => text.includes('is back')));
    expect(said[0]).toContain('part died (SIGKILL)');
    expect(part.identity?.pid).not.toBe(first);
    expect(startOf(grandchild)).toBeUndefined();
    await part.stop();
    expect(startOf(part.identity?.pid ?? 0)).toBeUndefined();
  });

  it('that cannot start says why, with the end of its log', async () => {
    await expect(child(`console.error('no such thing'); process.exit(3)`).start()).rejects.toThrow(
      /exit code 3[\s\S]*no such thing/,
    );
  });

  it('is never mistaken for another one that has its process ID by now', async () => {
    const stranger = spawn(process.execPath, ['-e', 'setInterval(() => {}, 1000)'], { detached: true });
    const pid = stranger.pid ?? 0;
    const stale = { pid, started: '1' };
    signalGroup(stale, 'SIGKILL');
    await endAll([stale], 100);
    const present = { pid, started: startOf(pid) ?? '' };
    expect(isAlive(present)).toBe(true);
    await endAll([present], 2000);
    expect(isAlive(present)).toBe(false);
  });
});

it('a taken port is named, with what to set', async () => {
  const server = net.createServer();
  const base = 21_900 + Math.floor(Math.random() * 50) * span;
  await new Promise<void>((resolve) => server.listen(base + 1, '127.0.0.1', resolve));
  await expect(checkPorts(base)).rejects.toThrow(new RegExp(`${base + 1} \\(UI\\).*MULTI_CLOUD_PORT`));
  server.close();
});

it('nothing that a shell exports for a real cloud reaches the local mode', () => {
  const planted = {
    AWS_ACCESS_KEY_ID: 'AKIAPLANTED',
    AWS_PROFILE: 'planted',
    AZURE_CLIENT_SECRET: 'planted',
    GOOGLE_APPLICATION_CREDENTIALS: '/planted',
    CLOUDSDK_CORE_PROJECT: 'planted',
    HTTPS_PROXY: 'http://planted',
    NODE_EXTRA_CA_CERTS: '/planted',
    NODE_OPTIONS: '--require=/planted',
  };
  const before = { ...process.env };
  Object.assign(process.env, planted);
  const environment = baseEnvironment(folder);
  process.env = before;
  expect(JSON.stringify(environment)).not.toMatch(/planted/i);
  expect(environment).toMatchObject({ AWS_EC2_METADATA_DISABLED: 'true' });
  expect(environment.HOME).toContain(folder);
});
