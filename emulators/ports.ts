/** The 127.0.0.1 ports of one local installation, all counted from one base so that two checkouts run side by side. */
import net from 'node:net';
import { setTimeout } from 'node:timers/promises';

export const defaultBase = 17400;
export const portsPerCloud = 40;

export interface Ports {
  temporal: number;
  ui: number;
  temporalHttp: number;
  temporalMetrics: number;
  /** First port of the gateway, and after ten of them of the clouds. */
  clouds: number;
}

/** How many ports an installation takes from its base. */
export const span = 20 + 3 * portsPerCloud;

export function portsFrom(base: number): Ports {
  return { temporal: base, ui: base + 1, temporalHttp: base + 2, temporalMetrics: base + 3, clouds: base + 10 };
}

function isFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = net.createServer();
    server.once('error', () => resolve(false));
    server.listen(port, '127.0.0.1', () => server.close(() => resolve(true)));
  });
}

/** A process that has just ended holds its ports until its last thread is gone. */
const lingersMs = 2000;

async function takenOf(ports: readonly number[]): Promise<number[]> {
  const free = await Promise.all(ports.map(isFree));
  return ports.filter((_, i) => !free[i]);
}

/** Throws naming what is taken and what to set, before anything is started. */
export async function checkPorts(base: number): Promise<void> {
  let taken = await takenOf(Array.from({ length: span }, (_, i) => base + i));
  for (const end = Date.now() + lingersMs; taken.length > 0 && Date.now() < end; taken = await takenOf(taken))
    await setTimeout(50);
  if (taken.length === 0) return;
  const { temporal, ui } = portsFrom(base);
  const named = taken.map((port) => (port === temporal ? `${port} (Temporal)` : port === ui ? `${port} (UI)` : port));
  throw new Error(
    `Port ${named.slice(0, 5).join(', ')} on 127.0.0.1 is taken by another program. ` +
      `The local clouds need ${base} to ${base + span - 1}; set MULTI_CLOUD_PORT to another first port, for example MULTI_CLOUD_PORT=${base + 1000}.`,
  );
}
