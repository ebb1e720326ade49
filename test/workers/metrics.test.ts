/** What a worker serves to Prometheus: Temporal's own metrics, and how far replication is. */
import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { Connection } from '@temporalio/client';
import { createNamespace, writeEstate } from '../e2e/own-worker.ts';
import { startWorker, writeSettings } from '../e2e/worker-process.ts';
import { localRun } from '../local/stack.ts';

const root = join(import.meta.dirname, '../..');

async function freePort(): Promise<number> {
  const server = createServer();
  await once(server.listen(0, '127.0.0.1'), 'listening');
  const { port } = server.address() as AddressInfo;
  await new Promise((closed) => server.close(closed));
  return port;
}

it('a worker serves metrics where its settings say so', async () => {
  const { address } = localRun().temporal;
  const connection = await Connection.connect({ address });
  const namespace = `metrics-${Date.now()}`;
  await createNamespace(connection, namespace);
  const folder = mkdtempSync(join(tmpdir(), 'metrics-'));
  const estateFile = writeEstate(join(folder, 'estate.yaml'), 'metrics', {});
  const metricsAddress = `127.0.0.1:${await freePort()}`;
  const worker = await startWorker(
    writeSettings(folder, { estateFile, temporal: { address, namespace }, metricsAddress }),
  );
  try {
    const answer = await fetch(`http://${metricsAddress}/metrics`);
    expect(await answer.text()).toMatch(/^temporal_[a-z_]+\{[^}]*\} \d/m);
  } finally {
    worker.kill('SIGTERM');
    await once(worker, 'exit');
    await connection.close();
  }
}, 60_000);

/** In a process of its own: a process has one runtime. */
const program = (port: number): string => `
  import { MockActivityEnvironment } from '@temporalio/testing';
  import { Runtime } from '@temporalio/worker';
  import { replicationMetrics } from './activities/replication/metrics.ts';
  const bindAddress = '127.0.0.1:${port}';
  const { metricMeter } = Runtime.install({ telemetryOptions: { metrics: { prometheus: { bindAddress } } } });
  await new MockActivityEnvironment({}, { metricMeter }).run(async () => {
    const tell = replicationMetrics('multi-cloud', 'data_lake');
    tell([{ from: 'aws', to: 'gcp', seconds: 9, applied: 3, conflicts: 1, errors: 0 }]);
    tell([{ from: 'aws', to: 'gcp', seconds: 2.5, applied: 5, conflicts: 1, errors: 0 }]);
  });
  process.stdout.write(await (await fetch('http://' + bindAddress + '/metrics')).text());
  process.exit();
`;

it('the lag and the counts of each direction are among them', async () => {
  const args = ['--disable-warning=ExperimentalWarning', '--input-type=module', '-e', program(await freePort())];
  const { stdout } = await promisify(execFile)(process.execPath, args, { cwd: root });
  const values = Object.fromEntries(
    stdout.split('\n').flatMap((line) => {
      const [, name, labels = '', value] = /^(multi_cloud_[a-z_]+)\{(.*)\} (\S+)$/.exec(line) ?? [];
      return name ? [[name, [labels.split(',').sort(), Number(value)]]] : [];
    }),
  );
  const labels = expect.arrayContaining(['estate="multi-cloud"', 'from="aws"', 'service="data_lake"', 'to="gcp"']);
  expect(values).toEqual({
    multi_cloud_replication_lag_seconds: [labels, 2.5],
    multi_cloud_replication_applied: [labels, 5],
    multi_cloud_replication_conflicts: [labels, 1],
  });
}, 30_000);
