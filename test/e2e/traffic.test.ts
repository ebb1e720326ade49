/** `steerService` through its life: from nothing, in steps, judged, approved, undone, with a lost answer, by DNS and by HAProxy. */
import { randomBytes } from 'node:crypto';
import { Resolver } from 'node:dns/promises';
import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { ApplicationFailure } from '@temporalio/activity';
import { EstateClient, type SteerResult } from '../../client/index.ts';
import { sampleZone } from '../../emulators/environment.ts';
import { backendName, frontName } from '../../model/traffic.ts';
import { multiCloud } from '../client/command.ts';
import { localRun } from '../local/stack.ts';
import { haproxyPath, LocalHaproxy, NamedServer } from '../traffic/haproxy-process.ts';
import { type OwnWorker, ownWorker, quietTemporal, writeEstate } from './own-worker.ts';

const namespace = `traffic-${randomBytes(3).toString('hex')}`;
const service = `web_${randomBytes(3).toString('hex')}`;
const file = join(mkdtempSync(join(tmpdir(), 'traffic-')), 'estate.yaml');
const name = frontName({ service, zone: sampleZone });
const compute = {
  type: 'compute',
  redundancy: 2,
  preferred_providers: ['aws', 'gcp'],
  configuration: { instance_count: 1 },
};

/** Writes the file that the worker reads, with the zone on GCP. */
function estateWith(traffic: object): void {
  writeEstate(
    file,
    'traffic',
    { [service]: compute },
    { traffic: { zone: sampleZone, dns: 'gcp', ttl: '1s', ...traffic } },
  );
}
const byDns = (gcp = 'gcp.fronts.example.net') =>
  estateWith({ fronts: { [service]: { aws: 'aws.fronts.example.net', gcp } } });

let worker: OwnWorker;
let estate: EstateClient;
/** Loses the answer of this many settings of weights in a zone, after they took effect. */
let lost = 0;
const resolver = new Resolver();
const steer = async (weights: Record<string, number> | undefined, more: object = {}): Promise<SteerResult> =>
  (await estate.steer({ service, weights, hold: '1s', ...more })).outcome<SteerResult>();
const now = async () => (await steer(undefined)).traffic?.targets.map(({ provider, weight }) => [provider, weight]);
const until = async (holds: () => Promise<boolean>): Promise<void> => {
  for (let tries = 100; !(await holds()); tries--) {
    if (tries === 0) throw new Error('it never came to be');
    await setTimeout(100);
  }
};

beforeAll(async () => {
  quietTemporal();
  byDns();
  resolver.setServers([localRun().dns.gcp ?? '']);
  worker = await ownWorker({
    namespace,
    estateFile: file,
    wrap: (real) => ({
      ...real,
      async setWeights(input) {
        const done = await real.setWeights(input);
        if (lost-- > 0) throw ApplicationFailure.retryable('staged: the answer was lost', 'Unavailable');
        return done;
      },
    }),
  });
  estate = new EstateClient(worker.client, 'traffic', '');
  expect(await (await estate.deploy()).result()).toMatchObject({ outcome: 'done' });
}, 180_000);
afterAll(() => worker.close());

it('nothing is set before, and a look changes nothing', async () => {
  expect((await steer(undefined)).traffic).toEqual({ name, targets: [] });
  await expect(resolver.resolveCname(name)).rejects.toMatchObject({ code: 'ENOTFOUND' });
}, 30_000);

it('goes to a first spread at once, and from there in steps', async () => {
  expect((await steer({ aws: 1 })).traffic?.targets).toEqual([
    { provider: 'aws', host: 'aws.fronts.example.net', weight: 1 },
  ]);
  expect(await resolver.resolveCname(name)).toEqual(['aws.fronts.example.net']);
  lost = 1;
  const run = await estate.steer({ service, weights: { gcp: 100 }, steps: [10, 50], hold: '1s' });
  expect((await run.outcome<SteerResult>()).traffic?.targets.map(({ weight }) => weight)).toEqual([0, 1]);
  expect((await run.progress()).steps.map(({ name: step, status, detail }) => [step, status, detail])).toEqual([
    [`${service}/traffic`, 'done', 'aws 100 %'],
    [`${service}/traffic 10 %`, 'done', 'aws 90 %, gcp 10 %'],
    [`${service}/traffic 50 %`, 'done', 'aws 50 %, gcp 50 %'],
    [`${service}/traffic 100 %`, 'done', 'aws 0 %, gcp 100 %'],
  ]);
  expect(await resolver.resolveCname(name)).toEqual(['gcp.fronts.example.net']);
}, 60_000);

it('follows a front that has moved', async () => {
  byDns('new.fronts.example.net');
  await steer({ gcp: 1 });
  expect(await resolver.resolveCname(name)).toEqual(['new.fronts.example.net']);
  byDns();
  await steer({ gcp: 1 });
  expect(await resolver.resolveCname(name)).toEqual(['gcp.fronts.example.net']);
}, 30_000);

it('waits for a person where that is asked for, and an undo half-way restores what was there', async () => {
  const before = await now();
  const run = await estate.steer({
    service,
    weights: { aws: 1, gcp: 1 },
    steps: [10],
    hold: '30s',
    approval: 'manual',
  });
  await until(async () => (await run.progress()).waitingFor.length > 0);
  expect(await now()).toEqual(before);
  const [question] = (await run.progress()).waitingFor;
  expect(question?.text).toContain('now aws 0 %, gcp 100 %: aws 5 %, gcp 95 %; then aws 50 %, gcp 50 %');
  await run.approve({ by: 'ann', plan: question?.plan ?? '' });
  await until(async () => JSON.stringify(await now()) === '[["aws",1],["gcp",19]]');
  await expect(steer({ aws: 1 })).rejects.toMatchObject({ type: 'OperationInProgress' });
  await run.undo('ann');
  await expect(run.result()).rejects.toMatchObject({
    type: 'UndoRequested',
    result: { outcome: 'undone', orphans: [] },
  });
  expect(await now()).toEqual(before);
}, 60_000);

it('is shown and changed on the command line', async () => {
  const where = { MULTI_CLOUD_ADDRESS: localRun().temporal.address, MULTI_CLOUD_NAMESPACE: namespace };
  const command = (...args: string[]) => multiCloud(['traffic', service, '--estate', 'traffic', ...args], where);
  const shown = await command();
  expect(shown).toMatchObject({ code: 0, out: expect.stringContaining(`${name}: aws 0 %, gcp 100 %`) });
  expect(await command('--set', 'aws=1')).toMatchObject({ code: 2, err: expect.stringContaining('--yes') });
  expect(await command('--set', 'aws=x', '--yes')).toMatchObject({ code: 2, err: expect.stringContaining('numbers') });
  const changed = await command('--set', 'aws=1,gcp=99', '--steps', '100', '--hold', '1s', '--yes', '--json');
  expect(JSON.parse(changed.out.trimEnd().split('\n').at(-1) ?? '')).toMatchObject({
    event: 'result',
    outcome: 'done',
    traffic: {
      name,
      targets: [
        { provider: 'aws', weight: 1 },
        { provider: 'gcp', weight: 99 },
      ],
    },
  });
  await steer({ gcp: 1 }, { steps: [100] });
}, 60_000);

it('goes only where the service is, and where the file names a front', async () => {
  await expect(steer({ azure: 1 })).rejects.toThrow(/weights\.azure: .* it runs on aws, gcp/);
  await expect(steer({ nowhere: 1 })).rejects.toMatchObject({ type: 'InvalidInput' });
  await expect(steer({ aws: 0 })).rejects.toThrow('must leave one weight over 0');
  estateWith({});
  await expect(steer({ aws: 1 })).rejects.toThrow(/traffic\.fronts of the estate file has no entry/);
  byDns();
}, 30_000);

(haproxyPath ? it : it.skip)(
  'a load balancer steers in its place where there is one; a step whose target fails goes back exactly',
  async () => {
    const { uid = '' } = (await estate.estate()) ?? {};
    const [aws, gcp] = await Promise.all(['aws', 'gcp'].map((one) => NamedServer.start(one)));
    if (!aws || !gcp) throw new Error('no servers');
    const proxy = await LocalHaproxy.start([
      {
        name: backendName({ service, uid }),
        servers: [`aws ${aws.address} weight 123`, `gcp ${gcp.address} weight 0`],
      },
    ]);
    const client = new AbortController();
    try {
      const fronts = { [service]: { aws: aws.address, gcp: gcp.address } };
      estateWith({ fronts, load_balancer: { haproxy: proxy.api.admin } });
      expect(await now()).toEqual([
        ['aws', 123],
        ['gcp', 0],
      ]);
      const asking = (async () => {
        while (!client.signal.aborted) {
          await proxy.get();
          await setTimeout(5);
        }
      })();
      gcp.failing = true;
      await expect(steer({ gcp: 1 }, { steps: [10, 50] })).rejects.toMatchObject({
        type: 'TrafficSwitchFailed',
        message: expect.stringMatching(/At aws 90 %, gcp 10 %: gcp failed \d+ of \d+ requests.* Traffic goes back/),
        result: { outcome: 'undone', orphans: [] },
      });
      expect(await now()).toEqual([
        ['aws', 123],
        ['gcp', 0],
      ]);
      gcp.failing = false;
      expect((await steer({ gcp: 1 }, { steps: [10, 50] })).traffic?.targets.map(({ weight }) => weight)).toEqual([
        0, 1,
      ]);
      client.abort();
      await asking;
      expect(await proxy.tally(20)).toEqual({ gcp: 20 });
    } finally {
      client.abort();
      byDns();
      await proxy.stop();
      await Promise.all([aws.stop(), gcp.stop()]);
    }
  },
  60_000,
);

it('goes with the service that is removed', async () => {
  expect(await now()).toEqual([
    ['aws', 0],
    ['gcp', 1],
  ]);
  expect(await (await estate.remove({ service })).result()).toMatchObject({ outcome: 'done', orphans: [] });
  await expect(resolver.resolveCname(name)).rejects.toMatchObject({ code: 'ENOTFOUND' });
}, 120_000);
