/** Weights in a real HAProxy: the share of real requests follows them, and nothing but ours is touched. */
import { randomBytes } from 'node:crypto';
import { MockActivityEnvironment } from '@temporalio/testing';
import { DefaultLogger } from '@temporalio/worker';
import { createBalancerActivities } from '../../activities/traffic/weights.ts';
import { backendName, judgeStep, type TrafficPlace, type WeightedRecord } from '../../model/traffic.ts';
import { haproxyPath, LocalHaproxy, NamedServer } from './haproxy-process.ts';

const service = 'compute';
const [uid, stranger] = [randomBytes(16).toString('hex'), randomBytes(16).toString('hex')];
const requests = 300;

(haproxyPath ? describe : describe.skip)('weights in HAProxy', () => {
  const balancer = createBalancerActivities({ callDeadlineMs: 2000 });
  const inActivity = <T>(act: () => Promise<T>): Promise<T> =>
    new MockActivityEnvironment({}, { logger: new DefaultLogger('ERROR') }).run(act);
  const read = (at: TrafficPlace, of = { service, uid }) => inActivity(() => balancer.readWeights({ at, ...of }));
  const set = (at: TrafficPlace, record: WeightedRecord, expected?: WeightedRecord) =>
    inActivity(() => balancer.setWeights({ at, record, ...(expected && { expected }) }));
  let proxy: LocalHaproxy;
  let servers: Record<'aws' | 'gcp' | 'spare', NamedServer>;
  let at: TrafficPlace;
  let before: WeightedRecord;
  const record = (aws: number, gcp: number): WeightedRecord => ({
    uid,
    service,
    ttlSeconds: 0,
    targets: [
      { provider: 'aws', host: servers.aws.address, weight: aws },
      { provider: 'gcp', host: servers.gcp.address, weight: gcp },
    ],
  });

  beforeAll(async () => {
    const [aws, gcp, spare] = await Promise.all(['aws', 'gcp', 'spare'].map((name) => NamedServer.start(name)));
    if (!aws || !gcp || !spare) throw new Error('no servers');
    servers = { aws, gcp, spare };
    const own = [`aws ${aws.address} weight 77`, `gcp ${gcp.address} weight 0`];
    proxy = await LocalHaproxy.start([
      { name: backendName({ service, uid }), servers: own },
      { name: backendName({ service: 'theirs', uid: stranger }), servers: own },
      { name: backendName({ service: 'odd', uid }), servers: [`aws ${aws.address}`, `other ${gcp.address}`] },
    ]);
    at = { by: 'haproxy', address: proxy.api.admin };
    before = record(77, 0);
  }, 30_000);
  afterAll(async () => {
    await proxy?.stop();
    await Promise.all(Object.values(servers ?? {}).map((one) => one.stop()));
  });

  it('are read as the file of the load balancer has set them', async () => {
    expect(await read(at)).toEqual(before);
    expect(await proxy.tally(20)).toEqual({ aws: 20 });
  });

  it('are what the share of requests follows', async () => {
    expect(await set(at, record(90, 10), before)).toEqual({ before, changed: true });
    const { aws = 0, gcp = 0 } = await proxy.tally(requests);
    expect(aws + gcp).toBe(requests);
    expect(Math.abs(gcp / requests - 0.1)).toBeLessThan(0.01); // it takes turns, it does not throw dice
    expect(await set(at, record(90, 10), before)).toEqual({ before, changed: false });
    await expect(set(at, record(1, 1), before)).rejects.toMatchObject({ type: 'TrafficSwitchFailed' });
  });

  it('move a server to another address, and an undo restores addresses and weights exactly', async () => {
    const [aws, gcp] = record(0, 5).targets;
    if (!aws || !gcp) throw new Error('no targets');
    const moved = { ...record(0, 5), targets: [aws, { ...gcp, host: servers.spare.address }] };
    await set(at, moved);
    expect(await proxy.tally(20)).toEqual({ spare: 20 });
    expect(await set(at, before)).toEqual({ before: moved, changed: true });
    expect(await read(at)).toEqual(before);
    expect(await proxy.tally(20)).toEqual({ aws: 20 });
  });

  it('of other estates, and backends with other servers, are refused and stay as they are', async () => {
    const theirs = { service: 'theirs', uid };
    const refused = {
      type: 'NotOurs',
      message: expect.stringContaining(backendName({ service: 'theirs', uid: stranger })),
    };
    await expect(read(at, theirs)).rejects.toMatchObject(refused);
    await expect(set(at, { ...record(1, 1), ...theirs })).rejects.toMatchObject(refused);
    expect((await read(at, { service: 'theirs', uid: stranger }))?.targets).toEqual(before.targets);
    await expect(set(at, { ...record(1, 1), service: 'odd' })).rejects.toMatchObject({ type: 'NotFound' });
    expect((await read(at, { service: 'odd', uid }))?.targets.map(({ weight }) => weight)).toEqual([1, 1]);
  });

  it('need a backend, and say how to make it; what a load balancer’s file makes is not removed', async () => {
    const of = { service: 'web', uid };
    await expect(read(at, of)).rejects.toMatchObject({
      type: 'NotFound',
      message: expect.stringContaining(`backend ${backendName(of)}`),
    });
    await expect(inActivity(() => balancer.removeWeights({ at, service, uid }))).rejects.toMatchObject({
      type: 'NotSupported',
    });
  });

  it('need an API that answers and that may change them', async () => {
    const nobody: TrafficPlace = { by: 'haproxy', address: '127.0.0.1:1' };
    await expect(read(nobody)).rejects.toMatchObject({ type: 'Unavailable', nonRetryable: false });
    for (const address of [proxy.api.operator, proxy.api.user])
      await expect(set({ by: 'haproxy', address }, record(1, 1))).rejects.toMatchObject({
        type: 'PermissionDenied',
        message: expect.stringContaining('level admin'),
      });
    expect(await read(at)).toEqual(before);
  });

  it('tell what fails, so that a step is judged by it', async () => {
    const counters = () => inActivity(() => balancer.readCounters({ at, service, uid }));
    await set(at, record(1, 1));
    const [first, errorShare] = [await counters(), 0.01];
    await proxy.tally(20);
    const good = await counters();
    const gaining = ['gcp'];
    expect(judgeStep({ before: first, after: good, gaining, errorShare })).toEqual([]);
    servers.gcp.failing = true;
    await proxy.tally(20);
    servers.gcp.failing = false;
    const bad = await counters();
    expect(judgeStep({ before: good, after: bad, gaining, errorShare })).toEqual([
      'gcp failed 10 of 10 requests, and 1 % are allowed',
    ]);
    expect(judgeStep({ before: good, after: bad, gaining: ['aws'], errorShare })).toEqual([]);
    await set(at, before);
  });
});
