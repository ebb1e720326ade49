/**
 * The gateway before the local clouds. Clients speak TLS to real host names; their connection map (`workers/network.ts`)
 * leads here, and from here to the local cloud that answers for the host. Every call passes this one place, so here is
 * where calls are listed, slowed down and broken.
 */
import { renameSync, writeFileSync } from 'node:fs';
import type { AddressInfo, Server } from 'node:net';
import { join } from 'node:path';
import { authority } from '../certificates.ts';
import { Callers } from './callers.ts';
import { Calls } from './calls.ts';
import { createControl } from './control.ts';
import { Faults } from './faults.ts';
import { certificatesFor, createFront } from './front.ts';
import { Routes } from './routes.ts';
import type { GatewaySettings } from './settings.ts';

const settings = JSON.parse(process.env.GATEWAY ?? '{}') as GatewaySettings;
const routes = new Routes(settings.clouds);
const calls = new Calls();
const faults = new Faults(settings.latencyMs);
const callers = new Callers();
const contextFor = certificatesFor(await authority(settings.certificates));

const listen = (server: Server, port: number) =>
  new Promise<number>((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, '127.0.0.1', 1024, () => resolve((server.address() as AddressInfo).port));
  });

const control = createControl({ calls, faults, callers, state: settings.state });
const fronts = routes.ports().map((asked) => ({
  asked,
  server: createFront({ asked, routes, contextFor, calls, faults, callers }),
}));
const controlPort = await listen(control, settings.port);
const gatewayPort: Record<number, number> = {};
for (const [i, { asked, server }] of fronts.entries()) gatewayPort[asked] = await listen(server, settings.port + 1 + i);

const map = routes.connectionMap(join(settings.certificates, 'ca.pem'), gatewayPort);
writeFileSync(`${settings.network}.new`, JSON.stringify(map, null, 2));
renameSync(`${settings.network}.new`, settings.network);

process.on('SIGTERM', () => process.exit(0));
process.stdout.write(`ready ${JSON.stringify({ control: `http://127.0.0.1:${controlPort}` })}\n`);
