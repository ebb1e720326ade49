/** Endpoint records in each cloud's DNS, read back by a resolver from the cloud's own name server. */
import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { Resolver } from 'node:dns/promises';
import { once } from 'node:events';
import { setTimeout } from 'node:timers/promises';
import type { Provider } from '../../activities/providers/driver.ts';
import { createEndpointActivities, type EndpointActivities } from '../../activities/traffic/endpoint-records.ts';
import { followEndpoint } from '../../client/endpoint.ts';
import { sampleZone } from '../../emulators/environment.ts';
import { type EndpointRecord, endpointName } from '../../model/endpoint-record.ts';
import { providerTypes } from '../../model/service.ts';
import { testProviders } from '../conformance/providers.ts';
import { calls, localRun } from '../local/stack.ts';

const signal = () => AbortSignal.timeout(30_000);

describe.each(providerTypes)('endpoint records on %s', (type) => {
  const { account, provider: makeProvider } = testProviders[type];
  const provider = makeProvider();
  const at = { provider: type, account, zone: sampleZone };
  const uid = randomBytes(16).toString('hex');
  const service = `firmware_${randomBytes(4).toString('hex')}`;
  const name = endpointName({ service, zone: sampleZone });
  const record: EndpointRecord = {
    uid,
    service,
    ttlSeconds: 30,
    endpoints: [{ provider: 'aws', region: 'us-west-2', url: 'https://b.s3.us-west-2.amazonaws.com' }],
  };
  const moved: EndpointRecord = {
    ...record,
    ttlSeconds: 1,
    endpoints: [{ provider: 'gcp', region: 'us-central1', url: 'gs://b' }],
  };
  let repeated = false;
  const records: EndpointActivities = createEndpointActivities({
    atAccount: (_, act: (at: Provider, signal: AbortSignal) => Promise<never>) => act(provider, signal()),
    isRepeated: () => repeated,
  });
  const resolver = new Resolver({ timeout: 2000, tries: 2 });
  const resolved = async (of = name) => (await resolver.resolveTxt(of)).map((strings) => strings.join('')).sort();
  const changes = async (since: number) => (await calls({ since, mutating: true, cloud: type })).length;
  const lastCall = async () => (await calls({ cloud: type })).at(-1)?.id ?? 0;

  beforeAll(() => resolver.setServers([localRun().dns[type] ?? '']));
  afterAll(() => provider.close());

  it('are not there before, and taking away what is not there is nothing', async () => {
    expect(await records.readEndpointRecord({ at, service, uid })).toBeNull();
    expect(await records.removeEndpointRecord({ at, service, uid })).toEqual({ before: null, changed: false });
    await expect(resolved()).rejects.toMatchObject({ code: 'ENOTFOUND' });
  });

  it('are answered by name servers once they are written; the same again changes nothing', async () => {
    expect(await records.writeEndpointRecord({ at, record, expected: null })).toEqual({ before: null, changed: true });
    const [endpoint] = record.endpoints;
    const value = `v=mc1 ttl=30 uid=${uid} service=${service} provider=aws region=us-west-2 url=${endpoint?.url}`;
    expect(await resolved()).toEqual([value]);
    const since = await lastCall();
    expect(await records.writeEndpointRecord({ at, record, expected: null })).toEqual({ before: null, changed: false });
    expect(await changes(since)).toBe(0);
    expect(await records.readEndpointRecord({ at, service, uid })).toEqual(record);
  });

  it('are written again, and waited for, where an earlier attempt may have lost its answer', async () => {
    repeated = true;
    expect(await records.writeEndpointRecord({ at, record })).toEqual({ before: record, changed: false });
    repeated = false;
    expect(await records.readEndpointRecord({ at, service, uid })).toEqual(record);
  });

  it('are switched over what was read only', async () => {
    const stale = { ...record, ttlSeconds: 60 };
    await expect(records.writeEndpointRecord({ at, record: moved, expected: stale })).rejects.toMatchObject({
      type: 'TrafficSwitchFailed',
    });
    await expect(records.writeEndpointRecord({ at, record: moved, expected: null })).rejects.toMatchObject({
      type: 'TrafficSwitchFailed',
    });
    expect(await records.readEndpointRecord({ at, service, uid })).toEqual(record);
    expect(await records.writeEndpointRecord({ at, record: moved, expected: record })).toEqual({
      before: record,
      changed: true,
    });
    expect(await records.readEndpointRecord({ at, service, uid })).toEqual(moved);
  });

  it('of two that write at once over the same, one wins and the other is told', async () => {
    const two = [record, { ...moved, ttlSeconds: 2 }].map((one) =>
      records.writeEndpointRecord({ at, record: one, expected: moved }).then(
        () => 'won',
        (error: { type?: string }) => error.type,
      ),
    );
    expect((await Promise.all(two)).sort()).toEqual(['TrafficSwitchFailed', 'won']);
    await records.writeEndpointRecord({ at, record: moved });
  });

  it('hold an address of 800 characters and several placements', async () => {
    const long = `https://${'a'.repeat(700)}.example.com/x?y=z&u=v`;
    const wide: EndpointRecord = {
      ...moved,
      endpoints: [
        { provider: 'azure', region: 'westus2', url: long },
        { provider: 'gcp', region: 'us-central1', url: 'gs://b' },
      ],
    };
    await records.writeEndpointRecord({ at, record: wide, expected: moved });
    expect((await resolved()).map((value) => value.slice(value.indexOf('url=') + 4))).toEqual([long, 'gs://b']);
    expect(await records.readEndpointRecord({ at, service, uid })).toEqual(wide);
    await records.writeEndpointRecord({ at, record: moved, expected: wide });
  });

  it('of another estate, of another service and plain texts are never touched', async () => {
    const stranger = { at, service, uid: '0'.repeat(32) };
    const twin = service.replaceAll('_', '-');
    for (const attempt of [
      records.readEndpointRecord(stranger),
      records.removeEndpointRecord(stranger),
      records.writeEndpointRecord({ at, record: { ...moved, uid: stranger.uid } }),
      records.writeEndpointRecord({ at, record: { ...moved, service: twin } }),
    ])
      await expect(attempt).rejects.toMatchObject({ kind: 'NotOurs' });
    const plain = `spf-${randomBytes(4).toString('hex')}`;
    const zone = { account, zone: sampleZone, name: `${plain}.${sampleZone}` };
    const text = { ttlSeconds: 300, values: ['v=spf1 -all'] };
    await provider.dns.replace({ ...zone, before: undefined, after: text }, signal());
    const foreign = records.writeEndpointRecord({ at, record: { ...moved, service: plain } });
    await expect(foreign).rejects.toMatchObject({ kind: 'NotOurs' });
    await expect(foreign).rejects.toThrow('nothing was changed');
    expect(await resolved(zone.name)).toEqual(text.values);
    await provider.dns.replace(
      { ...zone, before: await provider.dns.find(zone, signal()), after: undefined },
      signal(),
    );
  });

  it('need a zone, and say how to make it', async () => {
    const nowhere = records.writeEndpointRecord({ at: { ...at, zone: 'nowhere.example.com' }, record });
    await expect(nowhere).rejects.toMatchObject({ kind: 'NotFound' });
    await expect(nowhere).rejects.toThrow(
      /Make it with `(aws route53|az network dns|gcloud dns) .*nowhere\.example\.com/,
    );
  });

  it('refuse an address that is none', async () => {
    const [endpoint] = moved.endpoints;
    const wrong = async () =>
      records.writeEndpointRecord({
        at,
        record: { ...moved, endpoints: [{ ...endpoint, url: 'a b' }] } as EndpointRecord,
      });
    await expect(wrong()).rejects.toMatchObject({ type: 'InvalidInput', message: expect.stringContaining('url') });
  });

  it('are followed by clients within their TTL, and at once where a client asks', async () => {
    const seen: string[] = [];
    const errors: Error[] = [];
    const followed = followEndpoint({
      service,
      zone: sampleZone,
      servers: [localRun().dns[type] ?? ''],
      onChange: ({ endpoints }) => seen.push(endpoints.map(({ url }) => url).join()),
      onError: (error) => errors.push(error),
    });
    const until = async (url: string): Promise<number> => {
      const started = Date.now();
      while (seen.at(-1) !== url && Date.now() - started < 10_000) await setTimeout(10);
      expect(seen.at(-1)).toBe(url);
      return Date.now() - started;
    };
    try {
      await until('gs://b');
      const back = { ...record, ttlSeconds: 600 };
      await records.writeEndpointRecord({ at, record: back, expected: moved });
      expect(await until(record.endpoints[0]?.url ?? '')).toBeLessThan(2000);
      await records.writeEndpointRecord({ at, record: moved, expected: back });
      await setTimeout(1200); // its TTL is ten minutes now
      expect(seen).toHaveLength(2);
      followed.refresh();
      expect(await until('gs://b')).toBeLessThan(2000);
      expect(followed.current).toEqual(moved);
      expect([seen.length, errors]).toEqual([3, []]);
    } finally {
      followed.stop();
    }
  });

  it('are what the example follows', async () => {
    const example = ['docs/examples/follow-endpoint.ts', service, sampleZone, localRun().dns[type] ?? ''];
    const child = spawn(process.execPath, ['--disable-warning=ExperimentalWarning', ...example], {
      env: { PATH: process.env.PATH },
    });
    const [line] = await once(child.stdout, 'data');
    child.kill('SIGTERM');
    expect(String(line)).toMatch(/^\S+Z firmware_\w+: gs:\/\/b \(gcp in us-central1, for 1 s\)\n$/);
  });

  it('are gone from the name servers once they are taken away', async () => {
    await expect(records.removeEndpointRecord({ at, service, uid, expected: record })).rejects.toMatchObject({
      type: 'TrafficSwitchFailed',
    });
    expect(await records.removeEndpointRecord({ at, service, uid, expected: moved })).toEqual({
      before: moved,
      changed: true,
    });
    await expect(resolved()).rejects.toMatchObject({ code: 'ENOTFOUND' });
    expect(await records.removeEndpointRecord({ at, service, uid, expected: moved })).toEqual({
      before: moved,
      changed: false,
    });
  });
});
