/** A Temporal server of a test's own beside the local clouds: one that it may kill, and whose database it may lose. */
import { mkdtempSync, rmSync } from 'node:fs';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import type { Child } from '../../emulators/child.ts';
import { signalGroup } from '../../emulators/process-identity.ts';
import { temporalServer } from '../../emulators/temporal-server.ts';

const root = resolve(import.meta.dirname, '../..');

async function freePort(): Promise<number> {
  const server = net.createServer();
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  const address = server.address();
  await new Promise((done) => server.close(done));
  if (typeof address !== 'object' || !address) throw new Error('no port');
  return address.port;
}

export interface OwnTemporal {
  address: string;
  /** Ends it as a power cut does, and starts it again with the database that it had. */
  kill(): Promise<void>;
  /** Ends it, deletes its database, and starts it anew. */
  lose(): Promise<void>;
  stop(): Promise<void>;
}

export async function ownTemporal(): Promise<OwnTemporal> {
  const state = mkdtempSync(join(tmpdir(), 'temporal-'));
  const [temporal = 0, ui = 0, temporalHttp = 0, temporalMetrics = 0] = await Promise.all([0, 0, 0, 0].map(freePort));
  const ports = { temporal, ui, temporalHttp, temporalMetrics, clouds: 0 };
  let back = (): void => {};
  const report = (text: string): void => void (text.endsWith('is back') && back());
  const start = async (): Promise<Child> => {
    const child = temporalServer({ root, state, ports, report, onSpawn: () => {} });
    await child.start();
    return child;
  };
  let running = await start();
  return {
    address: `127.0.0.1:${temporal}`,
    async kill() {
      const again = new Promise<void>((resolve) => {
        back = resolve;
      });
      if (running.identity) signalGroup(running.identity, 'SIGKILL');
      await again; // its supervisor starts it
    },
    async lose() {
      await running.stop();
      rmSync(join(state, 'temporal'), { recursive: true });
      running = await start();
    },
    stop: () => running.stop(),
  };
}
