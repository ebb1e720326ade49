/**
 * The local AWS: two programs of others, each with a thin correction of ours (`local_ministack.py`, `local_moto.py`).
 * Which service is whose, and what is corrected, stands in README.md.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join, resolve } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { authority, issueCertificate } from '../certificates.ts';
import { serveDns } from '../dns-server.ts';
import { sampleZone } from '../environment.ts';
import { announce, dnsPort, type Listener, settingsFromEnvironment } from '../local-cloud.ts';
import { quotaFile } from '../quota-limits.ts';
import { regions } from './regions.ts';
import { route53Zones } from './zones.ts';

const settings = settingsFromEnvironment();
const [httpPort, mqttPort, computePort] = [settings.port, settings.port + 1, settings.port + 2];
const python = resolve(import.meta.dirname, '../../.local/python/bin/python');
const state = (name: string): string => join(settings.state, name);
const children: ChildProcess[] = [];

for (const folder of ['ministack', 's3', 'moto', 'tmp']) mkdirSync(state(folder), { recursive: true });

/** Devices connect to `<account's prefix>-ats.iot.<region>.amazonaws.com`; one certificate serves every region. */
async function mqttCertificate(): Promise<{ cert: string; key: string }> {
  const ca = await authority(settings.certificates);
  const issued = await issueCertificate(
    ca,
    regions.map((region) => `*.iot.${region}.amazonaws.com`),
  );
  const files = { cert: state('mqtt.pem'), key: state('mqtt.key') };
  writeFileSync(files.cert, issued.cert);
  writeFileSync(files.key, issued.key, { mode: 0o600 });
  return files;
}

function start(script: string, environment: Record<string, string>): void {
  const child = spawn(python, [join(import.meta.dirname, script)], {
    // stdin is the lifeline: it closes when this process ends in any way.
    stdio: ['pipe', 'inherit', 'inherit'],
    cwd: settings.state,
    // Nothing of the user's own AWS settings may get in.
    env: {
      PATH: process.env.PATH ?? '',
      HOME: settings.state,
      TMPDIR: state('tmp'),
      PYTHONDONTWRITEBYTECODE: '1',
      AWS_ACCESS_KEY_ID: 'local',
      AWS_SECRET_ACCESS_KEY: 'local',
      OPERATION_MS: String(settings.operationMs),
      NAME_HELD_MS: String(settings.nameHeldMs),
      CLOCK_MS: String(settings.clockMs ?? 0),
      QUOTAS: quotaFile(settings.state),
      ...environment,
    },
  });
  children.push(child);
  child.on('exit', (code, signal) => {
    if (stopping) return;
    process.stderr.write(`local AWS: ${script} ended with ${signal ?? code}\n`);
    void stop(1);
  });
}

let stopping = false;
async function stop(code: number): Promise<void> {
  if (stopping) return;
  stopping = true;
  const running = children.filter((child) => child.exitCode === null && child.signalCode === null);
  const ended = running.map((child) => new Promise((done) => child.once('exit', done)));
  for (const child of running) child.kill('SIGTERM');
  await Promise.race([Promise.all(ended), setTimeout(5000)]);
  for (const child of running) child.kill('SIGKILL');
  process.exit(code);
}
process.on('SIGTERM', () => void stop(0));
process.on('SIGINT', () => void stop(0));

async function ready(url: string): Promise<void> {
  for (const deadline = Date.now() + 30_000; Date.now() < deadline && !stopping; await setTimeout(30)) {
    const answer = await fetch(url).catch(() => undefined);
    await answer?.body?.cancel();
    if (answer?.ok) return;
  }
  throw new Error(`local AWS: ${url} did not become ready`);
}

/** After a kill -9 the programs of the last run may hold their ports for a moment longer. */
async function portsFree(): Promise<void> {
  for (const deadline = Date.now() + 5000; Date.now() < deadline; await setTimeout(50)) {
    const taken = await Promise.all([httpPort, mqttPort, computePort].map(isTaken));
    if (!taken.includes(true)) return;
  }
}

async function isTaken(port: number): Promise<boolean> {
  const server = createServer();
  try {
    await once(server.listen(port, '127.0.0.1'), 'listening');
    return false;
  } catch {
    return true;
  } finally {
    server.close();
  }
}

const mqtt = await mqttCertificate();
await portsFree();
start('local_ministack.py', {
  BIND_HOST: '127.0.0.1',
  GATEWAY_PORT: String(httpPort),
  IOT_MTLS_PORT: String(mqttPort),
  MQTT_CERT: mqtt.cert,
  MQTT_KEY: mqtt.key,
  MINISTACK_REGION: 'us-east-1',
  MINISTACK_ACCOUNT_ID: settings.account,
  SFTP_ENABLED: '0',
  LOG_LEVEL: 'ERROR',
  PERSIST_STATE: '1',
  STATE_DIR: state('ministack'),
  S3_PERSIST: '1',
  S3_DATA_DIR: state('s3'),
});
start('local_moto.py', {
  MOTO_PORT: String(computePort),
  MOTO_STATE: join(state('moto'), 'state.pickle'),
  MOTO_ACCOUNT_ID: settings.account,
  // Its own list holds hundreds of images and would be most of the state.
  MOTO_AMIS_PATH: join(import.meta.dirname, 'images.json'),
});
await Promise.all([
  ready(`http://127.0.0.1:${httpPort}/_ministack/ready`),
  ready(`http://127.0.0.1:${computePort}/moto-api/`),
]);
const zones = await route53Zones({ endpoint: `http://127.0.0.1:${httpPort}`, zone: sampleZone });
await serveDns({ port: dnsPort(settings), lookup: zones });

const serviceHosts = ['iot', 's3', 'sqs', 'kinesis', 'glue', 'kms', 'sts', 'iam'].map(
  (service) => `${service}.*.amazonaws.com`,
);
const listeners: Listener[] = [
  { name: 'mqtt', hosts: ['*-ats.iot.*.amazonaws.com'], port: 8883, protocol: 'tls', to: mqttPort },
  {
    name: 'ec2',
    hosts: ['ec2.*.amazonaws.com', 'autoscaling.*.amazonaws.com', 'servicequotas.*.amazonaws.com'],
    port: 443,
    protocol: 'http',
    to: computePort,
  },
  {
    name: 'aws',
    hosts: [
      '*.s3.*.amazonaws.com',
      ...serviceHosts,
      'data-ats.iot.*.amazonaws.com',
      '*.s3.amazonaws.com',
      's3.amazonaws.com',
      'sts.amazonaws.com',
      'iam.amazonaws.com',
      'route53.amazonaws.com',
    ],
    port: 443,
    protocol: 'http',
    to: httpPort,
  },
];
announce(listeners);
