/**
 * `npm run bench`: ours and a peer in turn, in one run, several rounds, medians. Objects: the engine against rclone between the same
 * servers (servers.ts), 10,000 objects of 10 KB and 20 of 64 MB. Lags: on the local clouds (lag.ts).
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, readdirSync, rmSync, statSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { parseArgs } from 'node:util';
import { baseEnvironment } from '../../emulators/environment.ts';
import type { ProviderType } from '../../model/service.ts';
import type { Store, Task } from './copier.ts';
import { type Follower, measureLag } from './lag.ts';
import { azureAccount, azureKey, rclone, regions, Servers, s3Keys, setUpBench } from './servers.ts';

interface Row {
  name: string;
  metric: string;
  unit: string;
  ours: number;
  peer: number;
  peerName: string;
  /** Over 1 where ours is better. */
  ratio: number;
  rounds: number;
}

const sizes = { small: { objects: 10_000, bytes: 10_000 }, large: { objects: 20, bytes: 64_000_000 } } as const;
type Size = keyof typeof sizes;
const targets = { 's3-gcs': 'gcs', 's3-s3': 'target', 's3-blob': 'azure' } as const;
const pairs = (['s3-gcs', 's3-s3', 's3-blob'] as const).flatMap((pair) =>
  (['small', 'large'] as const).map((size) => ({ name: `objects-${pair}-${size}`, cloud: targets[pair], size })),
);

const directions = ['aws-gcp', 'gcp-aws', 'gcp-azure', 'azure-aws'] as const;
/** Who keeps sides in step, by the name of the bench. */
const followers: Record<string, Follower> = { 'replicate-lag': 'replicate', 'migrate-lag': 'follow' };
const names = [...pairs.map(({ name }) => name), 'objects-kill9', ...Object.keys(followers)];
const help = `npm run bench [-- NAME ...] [OPTIONS]

  ${names.join('\n  ')}

  --rounds N         of each comparison with a peer (default: 5)
  --json             the rows as JSON
of replicate-lag and migrate-lag:
  --direction A-B    ${directions.join(', ')}; several times (default: aws-gcp and gcp-aws)
  --rate N           objects a second (default: 200)
  --seconds N        for which they are written (default: 300)
  --stop N           seconds for which no pump runs, before it catches up (default: 600)
`;
const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    json: { type: 'boolean' },
    rounds: { type: 'string', default: '5' },
    direction: { type: 'string', multiple: true, default: ['aws-gcp', 'gcp-aws'] },
    rate: { type: 'string', default: '200' },
    seconds: { type: 'string', default: '300' },
    stop: { type: 'string', default: '600' },
    help: { type: 'boolean' },
  },
});
if (values.help) {
  process.stdout.write(help);
  process.exit(0);
}
const unknown = positionals.filter((name) => !names.includes(name));
if (unknown.length > 0) {
  process.stderr.write(`no such bench: ${unknown.join(', ')}; there are ${names.join(', ')}\n`);
  process.exit(2);
}
const wrong = values.direction.filter((one) => !directions.some((direction) => direction === one));
if (wrong.length > 0) {
  process.stderr.write(`--direction: found ${wrong.join(', ')}; it takes ${directions.join(', ')}\n`);
  process.exit(2);
}
const count = (name: 'rate' | 'seconds' | 'stop' | 'rounds'): number => {
  const value = Number(values[name]);
  if (Number.isInteger(value) && value > 0) return value;
  process.stderr.write(`--${name}: found ${values[name]}; it takes a whole number from 1\n`);
  process.exit(2);
};
const chosen = positionals.length > 0 ? positionals : names;
const rounds = count('rounds');
const say = (what: string): void => void process.stderr.write(`  ${what}\n`);

const root = resolve(import.meta.dirname, '../..');
const port = Number(process.env.MULTI_CLOUD_BENCH_PORT ?? '18900');
const servers = new Servers(port);

const median = (numbers: readonly number[]): number => [...numbers].sort((a, b) => a - b)[numbers.length >> 1] ?? 0;
const rounded = (value: number): number => Number(value.toPrecision(4));
let last = 0;
const fresh = (): string => `bench-${++last}`;

/** A process of the engine; resolves with what it answered, or undefined where it was killed. */
function engine(verb: 'fill' | 'copy' | 'verify', task: Task) {
  const child = spawn(
    process.execPath,
    [
      '--import',
      './workers/network.ts',
      '--disable-warning=ExperimentalWarning',
      'test/bench/copier.ts',
      verb,
      JSON.stringify(task),
    ],
    {
      cwd: root,
      stdio: ['ignore', 'pipe', 'inherit'],
      env: { ...baseEnvironment(servers.folder), MULTI_CLOUD_NETWORK: servers.network, GOOGLE_CLOUD_PROJECT: 'bench' },
    },
  );
  const answered = (async (): Promise<Record<string, never> | undefined> => {
    const exit = once(child, 'exit');
    for await (const line of createInterface(child.stdout)) {
      // Node may wait for ever for its own threads when it ends (V8's workers): nothing is left to wait for.
      child.kill('SIGKILL');
      return JSON.parse(line);
    }
    const [code] = await exit;
    if (code === null) return undefined;
    throw new Error(`the copier failed (${code})`);
  })();
  return { child, answered };
}
async function ours(
  verb: 'fill' | 'copy' | 'verify',
  task: Task,
): Promise<{ seconds: number; failed: number; same: number; copied: { objects: number } }> {
  const answer = await engine(verb, task).answered;
  if (!answer) throw new Error('the copier was killed');
  return answer as never;
}

async function control(url: string, method: string, body?: string): Promise<void> {
  const child = spawn(
    'curl',
    [
      '-sS',
      '--fail',
      '--cacert',
      servers.ca,
      '-X',
      method,
      ...(body ? ['-H', 'content-type: application/json', '-d', body] : []),
      url,
    ],
    { stdio: ['ignore', 'ignore', 'inherit'] },
  );
  const [code] = await once(child, 'exit');
  if (code !== 0) throw new Error(`${method} ${url} failed`);
}

async function makeBucket({ cloud, bucket }: Store): Promise<void> {
  if (cloud === 'gcs')
    await control(`http://127.0.0.1:${servers.ports.gcs}/storage/v1/b`, 'POST', JSON.stringify({ name: bucket }));
  else if (cloud === 'azure') await peer(['mkdir', `azure:${bucket}`]);
  else await peer(['mkdir', `${cloud}:${bucket}`]);
}

/** What lies in it is thrown away behind its server's back: tmpfs is small. */
function dropBucket({ cloud, bucket }: Store): void {
  if (cloud !== 'azure') rmSync(join(servers.folder, cloud, bucket), { recursive: true, force: true });
}

/** Runs rclone; seconds. */
async function peer(args: readonly string[]): Promise<number> {
  const { ports } = servers;
  const s3 = (side: 'source' | 'target') => {
    const name = `RCLONE_CONFIG_${side.toUpperCase()}`;
    return {
      [`${name}_TYPE`]: 's3',
      [`${name}_PROVIDER`]: 'Other',
      [`${name}_ENDPOINT`]: `http://127.0.0.1:${ports[side]}`,
      [`${name}_REGION`]: regions[side],
      [`${name}_ACCESS_KEY_ID`]: s3Keys.accessKeyId,
      [`${name}_SECRET_ACCESS_KEY`]: s3Keys.secretAccessKey,
    };
  };
  const env = {
    HOME: servers.folder,
    ...s3('source'),
    ...s3('target'),
    RCLONE_CONFIG_GCS_TYPE: 'google cloud storage',
    RCLONE_CONFIG_GCS_ANONYMOUS: 'true',
    RCLONE_CONFIG_GCS_ENDPOINT: `http://127.0.0.1:${ports.gcs}/storage/v1/`,
    RCLONE_CONFIG_AZURE_TYPE: 'azureblob',
    RCLONE_CONFIG_AZURE_ACCOUNT: azureAccount,
    RCLONE_CONFIG_AZURE_KEY: azureKey,
    RCLONE_CONFIG_AZURE_ENDPOINT: `https://127.0.0.1:${ports.azure}/${azureAccount}`,
  };
  const flags = [
    '--config',
    '',
    '--ca-cert',
    servers.ca,
    '--transfers',
    '32',
    '--checkers',
    '32',
    '--fast-list',
    '--retries',
    '1',
  ];
  const started = performance.now();
  const child = spawn(rclone, [...args, ...flags], { cwd: root, stdio: ['ignore', 'inherit', 'inherit'], env });
  const [code] = await once(child, 'exit');
  if (code !== 0) throw new Error(`rclone ${args.join(' ')} failed (${code})`);
  return (performance.now() - started) / 1000;
}

const filled = new Map<Size, Store>();
async function sourceOf(size: Size): Promise<Store> {
  const known = filled.get(size);
  if (known) return known;
  const store: Store = { cloud: 'source', bucket: fresh() };
  await makeBucket(store);
  await ours('fill', { source: store, target: store, files: servers.folder, ...sizes[size] });
  filled.set(size, store);
  return store;
}

/** A task with a target of its own. */
async function taskFor(cloud: Store['cloud'], size: Size): Promise<Task> {
  if (cloud === 'azure') await servers.restartAzure();
  const target: Store = { cloud, bucket: fresh() };
  await makeBucket(target);
  const files = join(servers.folder, 'files', target.bucket);
  mkdirSync(files, { recursive: true });
  return { source: await sourceOf(size), target, files, ...sizes[size] };
}

async function againstRclone({ name, cloud, size }: (typeof pairs)[number]): Promise<Row> {
  const rate = (seconds: number): number =>
    size === 'small' ? sizes.small.objects / seconds : (sizes.large.objects * sizes.large.bytes) / 1e6 / seconds;
  const rates = { ours: [] as number[], peer: [] as number[] };
  for (let round = 0; round < rounds; round++) {
    // Who comes first changes from round to round.
    for (const who of round % 2 === 0 ? (['ours', 'peer'] as const) : (['peer', 'ours'] as const)) {
      const task = await taskFor(cloud, size);
      if (who === 'peer') {
        rates.peer.push(rate(await peer(['copy', `source:${task.source.bucket}`, `${cloud}:${task.target.bucket}`])));
      } else {
        const { seconds, copied } = await ours('copy', task);
        if (copied.objects !== task.objects)
          throw new Error(`${name}: ${copied.objects} of ${task.objects} were copied`);
        rates.ours.push(rate(seconds));
        const { same } = await ours('verify', task);
        if (same !== task.objects) throw new Error(`${name}: ${same} of ${task.objects} are the same at both ends`);
      }
      dropBucket(task.target);
    }
    say(`${name} round ${round + 1}: ours ${rates.ours.at(-1)?.toFixed(0)}, rclone ${rates.peer.at(-1)?.toFixed(0)}`);
  }
  const [own, other] = [median(rates.ours), median(rates.peer)];
  return {
    name,
    metric: size === 'small' ? 'objects of 10 KB' : 'objects of 64 MB',
    unit: size === 'small' ? 'objects/s' : 'MB/s',
    ours: rounded(own),
    peer: rounded(other),
    peerName: 'rclone 1.75.2 --transfers 32 --checkers 32 --fast-list',
    ratio: rounded(own / other),
    rounds,
  };
}

/** Objects as the server's files: what was written, and when. */
class Written {
  readonly #folder: string;
  constructor(folder: string) {
    this.#folder = folder;
  }
  #names = (): string[] => (existsSync(this.#folder) ? readdirSync(this.#folder) : []);
  count = (): number => this.#names().length;
  times = (): Map<string, number> =>
    new Map(this.#names().map((name) => [name, statSync(join(this.#folder, name)).mtimeMs]));
}

/** `kill -9` half-way and a new process, against a run that nobody disturbs; nothing finished may be written again. */
async function killed(): Promise<Row> {
  const seconds = { killed: [] as number[], undisturbed: [] as number[] };
  for (let round = 0; round < rounds; round++) {
    const calm = await taskFor('gcs', 'small');
    const undisturbed = await ours('copy', calm);
    seconds.undisturbed.push(undisturbed.seconds);
    dropBucket(calm.target);

    const task = await taskFor('gcs', 'small');
    const first = engine('copy', task);
    const folder = join(servers.folder, 'gcs', task.target.bucket, 'devices');
    const written = new Written(folder);
    const started = performance.now();
    while (written.count() === 0) await new Promise((done) => setTimeout(done, 5));
    const copying = performance.now();
    while (written.count() < task.objects / 2) await new Promise((done) => setTimeout(done, 20));
    first.child.kill('SIGKILL');
    await first.answered;
    const before = (performance.now() - copying) / 1000;
    const finished = written.times();
    const { seconds: after } = await ours('copy', task);
    const now = written.times();
    const again = [...finished].filter(([name, time]) => now.get(name) !== time).length;
    // What was under way when it was killed may have been finished by its server afterwards.
    if (again > 0) throw new Error(`objects-kill9: ${again} objects that were finished were written again`);
    const { same } = await ours('verify', task);
    if (same !== task.objects) throw new Error(`objects-kill9: ${same} of ${task.objects} are the same at both ends`);
    seconds.killed.push(before + after);
    dropBucket(task.target);
    say(
      `objects-kill9 round ${round + 1}: ${(before + after).toFixed(1)} s, undisturbed ${undisturbed.seconds.toFixed(1)} s (${((performance.now() - started) / 1000).toFixed(1)} s with the start of two processes)`,
    );
  }
  const [own, other] = [median(seconds.killed), median(seconds.undisturbed)];
  return {
    name: 'objects-kill9',
    metric: 'copying 10,000 objects, killed half-way and taken up',
    unit: 's',
    ours: rounded(own),
    peer: rounded(other),
    peerName: 'the same, undisturbed',
    ratio: rounded(other / own),
    rounds,
  };
}

/** The bounds are those that an active-active lake has to keep: a second, and five times the live rate. */
async function lags(bench: string, who: Follower): Promise<Row[]> {
  const rate = count('rate');
  const options = { who, rate, seconds: count('seconds'), stopSeconds: count('stop'), port: port + 200 };
  const pairsOf = values.direction.map((one) => one.split('-') as [ProviderType, ProviderType]);
  const all = await measureLag({ ...options, directions: pairsOf }, say);
  return all.flatMap(({ from, to, written, p99, catchUp }): Row[] => {
    const common = { unit: 's', rounds: 1, name: `${bench}-${from}-${to}` };
    const at = `${written.toFixed(0)} objects a second were written, ${rate} asked for`;
    return [
      {
        ...{ ...common, metric: `99th percentile of the lag; ${at}`, ours: rounded(p99 / 1000), peer: 1 },
        ...{ peerName: 'bound', ratio: rounded(1000 / p99) },
      },
      {
        ...{ ...common, unit: 'objects/s', metric: 'catching up after a stop', ours: rounded(catchUp) },
        ...{
          peer: rounded(5 * written),
          peerName: 'five times what was written',
          ratio: rounded(catchUp / 5 / written),
        },
      },
    ];
  });
}

const rows: Row[] = [];
if (chosen.some((name) => !followers[name])) {
  setUpBench();
  try {
    await servers.start();
    for (const pair of pairs) if (chosen.includes(pair.name)) rows.push(await againstRclone(pair));
    if (chosen.includes('objects-kill9')) rows.push(await killed());
  } finally {
    await servers.stop();
  }
}
for (const [bench, who] of Object.entries(followers))
  if (chosen.includes(bench)) rows.push(...(await lags(bench, who)));
if (values.json) process.stdout.write(`${JSON.stringify(rows, null, 2)}\n`);
else
  for (const { name, metric, unit, ours: own, peer: other, peerName, ratio } of rows)
    process.stdout.write(`${name}  ${own} ${unit}, ${peerName}: ${other} ${unit}, ratio ${ratio}  (${metric})\n`);
