/**
 * Starts some local clouds with the gateway before them, for work on a driver or an emulator:
 *
 *     node emulators/gateway/try.ts --port 24000 --state .local/try-me aws azure
 *     MULTI_CLOUD_NETWORK=.local/try-me/network.json node --env-file=.local/try-me/credentials.env \
 *       --import ./workers/network.ts my-script.ts
 *
 * Stays until Ctrl-C.
 */
import { writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { type CloudName, cloudNames, startClouds } from '../clouds.ts';
import { localCredentials } from '../environment.ts';

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    port: { type: 'string', default: '24000' },
    'ports-per-cloud': { type: 'string', default: '30' },
    state: { type: 'string' },
    'operation-ms': { type: 'string', default: '200' },
    'name-held-ms': { type: 'string', default: '60000' },
    'latency-ms': { type: 'string', default: '0' },
  },
});
const unknown = positionals.find((name) => !cloudNames.includes(name as CloudName));
if (unknown !== undefined || positionals.length === 0) {
  process.stderr.write(`usage: node emulators/gateway/try.ts [--port N] [--state DIR] ${cloudNames.join('|')} ...\n`);
  process.exit(2);
}
const root = resolve(import.meta.dirname, '../..');
const state = resolve(values.state ?? join(root, '.local', `try-${values.port}`));
const started = performance.now();
const { children, network, control } = await startClouds({
  root,
  state,
  clouds: positionals as CloudName[],
  port: Number(values.port),
  portsPerCloud: Number(values['ports-per-cloud']),
  operationMs: Number(values['operation-ms']),
  nameHeldMs: Number(values['name-held-ms']),
  latencyMs: Number(values['latency-ms']),
  report: (text) => process.stderr.write(`${text}\n`),
});
const environment = Object.entries(localCredentials(state)).map(([name, value]) => `${name}=${value}\n`);
writeFileSync(join(state, 'credentials.env'), environment.join(''), { mode: 0o600 });
process.stdout.write(
  `${positionals.join(', ')} ready after ${Math.round(performance.now() - started)} ms\n` +
    `connection map: ${network}\ncredentials:    ${join(state, 'credentials.env')}\ncontrol:        ${control}\nlogs:           ${join(state, 'logs')}\n`,
);
const stop = async () => {
  await Promise.all(children.map((child) => child.stop()));
  process.exit(0);
};
process.once('SIGINT', stop);
process.once('SIGTERM', stop);
