/** A fence on each cloud, under a writer of another identity that never stops. */
import { randomBytes } from 'node:crypto';
import { setTimeout } from 'node:timers/promises';
import type { Cell, Provider } from '../../activities/providers/driver.ts';
import { createFenceActivities, type FenceActivities } from '../../activities/providers/fence.ts';
import { Resource } from '../../activities/providers/provision.ts';
import { recordsBuckets } from '../../activities/records/bucket.ts';
import { CloudError } from '../../model/errors.ts';
import { recordsPlacement } from '../../model/records.ts';
import {
  type Outputs,
  type Placement,
  type ProviderType,
  providerTypes,
  type ServiceType,
} from '../../model/service.ts';
import { cases } from '../conformance/cases.ts';
import { askedRights } from '../conformance/identities.ts';
import { testProviders } from '../conformance/providers.ts';
import { type Made, statusOf, type Visitor, visitors } from './visitors.ts';

const pace = { pollMs: 25, heartbeat: () => {} };
const signal = () => AbortSignal.timeout(60_000);
const owner = { workflowId: 'migrate/fence/firmware', runId: '6f0b7a44-6a1c-4a53-9c59-2d0f4a6c9a01' };
const another = { ...owner, runId: '00000000-0000-4000-8000-000000000002' };
const expiresAt = '2099-01-01T00:00:00Z';

const cellOf = (provider: Provider, { type }: Placement): Cell => {
  const cell = provider.cells.find((one) => one.type === type);
  if (!cell) throw new Error(`no cell for ${type}`);
  return cell;
};

const placementOn = (
  provider: ProviderType,
  type: ServiceType,
  { region, account }: { region: string; account: string },
): Placement => ({
  owner: {
    estate: 'fence',
    uid: randomBytes(16).toString('hex'),
    service: type,
    controller: 'test-controller',
    generation: 1,
  },
  type,
  provider,
  providerType: provider,
  region,
  account,
  configuration: cases.find((one) => one.type === type)?.configuration ?? {},
});

const fencesWith = (provider: Provider): FenceActivities =>
  createFenceActivities({
    atPlacement: (_, act) => act(provider, signal()),
    ensureBucket: recordsBuckets({ cellOf, pace: () => pace, retentionDays: 1, repair: true }),
    needed: (type, service) => askedRights(type, service, 'undo'),
  });

/** Writes every 25 ms, until it is stopped. */
class LiveWriter {
  readonly outcomes: { at: number; status: number | undefined }[] = [];
  readonly acknowledged: string[] = [];
  #stopped = false;
  readonly #running: Promise<void>;

  constructor(visitor: Visitor) {
    this.#running = (async () => {
      for (let i = 0; !this.#stopped; i++) {
        const key = `live/${i}`;
        const outcome = await visitor.write(key, key).then(
          () => undefined,
          (error: unknown) => statusOf(error) ?? 0,
        );
        if (outcome === undefined) this.acknowledged.push(key);
        this.outcomes.push({ at: Date.now(), status: outcome });
        await setTimeout(25);
      }
    })();
  }

  async until(status: number | undefined): Promise<number> {
    const started = Date.now();
    for (const from = this.outcomes.length; ; await setTimeout(10)) {
      const found = this.outcomes.slice(from).find((one) => one.status === status);
      if (found) return found.at - started;
      if (Date.now() - started > 10_000)
        throw new Error(`the writer never saw ${status}: ${JSON.stringify(this.outcomes.slice(-3))}`);
    }
  }

  stop(): Promise<void> {
    this.#stopped = true;
    return this.#running;
  }
}

it('on aws lets no upload be completed that was begun before, and tells of it beforehand', async () => {
  const { region, account, provider: makeProvider } = testProviders.aws;
  const provider = makeProvider();
  const placement = placementOn('aws', 'storage', { region, account });
  const [bucket] = cellOf(provider, placement).design(placement);
  if (!bucket) throw new Error('no bucket');
  const call = { placement, needs: {}, signal: signal() };
  const resource = new Resource(provider, cellOf(provider, placement), bucket, call);
  const made = { bucket: (await resource.ensure(pace)).outputs };
  const fences = fencesWith(provider);
  const visitor = await visitors.aws(placement, made);
  const complete = await visitor.beginUpload?.('begun');
  expect((await fences.proveFence({ placement })).uploads).toEqual({ count: 1, first: ['begun'] });
  await fences.fenceStore({ placement, owner, expiresAt });
  expect(await complete?.().catch(statusOf)).toBe(403);
  await fences.liftFence({ placement, owner });
  expect(await complete?.().then(() => visitor.read('begun'))).toBe('begun');
  await visitor.leave();
  await resource.remove(pace, { deleteData: true, retainUntil: '2099-01-01' });
  await provider.close();
}, 60_000);

describe.each(providerTypes)('a fence on %s', (providerType) => {
  describe.each<ServiceType>(['storage', 'data_lake'])('around a %s', (type) => {
    const { provider: makeProvider, ...place } = testProviders[providerType];
    const provider = makeProvider();
    const fences = fencesWith(provider);
    const placement = placementOn(providerType, type, place);
    const made: Record<string, Outputs> = {};
    let visitor: Visitor;
    let writer: LiveWriter;
    let before: string;

    async function each(
      of: Placement,
      outputs: Record<string, Outputs>,
      act: (resource: Resource, key: string) => Promise<unknown>,
      backwards = false,
    ): Promise<void> {
      const cell = cellOf(provider, of);
      const specs = cell.design(of);
      for (const spec of backwards ? specs.toReversed() : specs) {
        const needs = Object.fromEntries(spec.needs.map((key) => [key, outputs[key] ?? {}]));
        await act(new Resource(provider, cell, spec, { placement: of, needs, signal: signal() }), spec.key);
      }
    }

    beforeAll(async () => {
      await each(placement, made, async (resource, key) => {
        made[key] = (await resource.ensure(pace)).outputs;
      });
      visitor = await visitors[providerType](placement, made as Made);
      writer = new LiveWriter(visitor);
      await writer.until(undefined);
      before = await visitor.rights();
    }, 60_000);

    afterAll(async () => {
      await writer.stop();
      await visitor.leave();
      for (const one of [placement, recordsPlacement(placement.owner, placement)]) {
        const outputs: Record<string, Outputs> = {};
        await each(one, outputs, async (resource, key) => {
          outputs[key] = (await resource.observe())?.outputs ?? {};
        });
        const remove = (resource: Resource) => resource.remove(pace, { deleteData: true, retainUntil: '2099-01-01' });
        await each(one, outputs, remove, true);
      }
      await provider.close();
    }, 60_000);

    it('is proven before: rights, who writes, and an undo that restores', async () => {
      const proof = await fences.proveFence({ placement });
      expect(proof).toMatchObject({ missing: [], escapes: [], uploads: { count: 0, first: [] } });
      expect(proof.writers).toHaveLength(1);
      expect(proof.settles.source).toMatch(/^https:/);
      expect(await visitor.rights()).toBe(before);
      expect(await fences.fenceState({ placement })).toEqual({ fence: null, inForce: false, escapes: [] });
    });

    it('refuses the writer within two seconds, in the cloud’s own words, while everybody reads and we write', async () => {
      const [key = ''] = writer.acknowledged;
      const refused = writer.until(403);
      const state = await fences.fenceStore({ placement, owner, expiresAt });
      expect(await refused).toBeLessThan(2000);
      expect(state).toEqual({ fence: { owner, setAt: state.fence?.setAt, expiresAt }, inForce: true, escapes: [] });
      const from = writer.outcomes.length;
      await setTimeout(300);
      expect(writer.outcomes.slice(from).every(({ status }) => status === 403)).toBe(true);
      expect(await visitor.read(key)).toBe(key);
      await provider.objects.put(placement, 'ours', Buffer.from('ours'), undefined, signal());
      expect(await visitor.read('ours')).toBe('ours');
    });

    it('stays as it is when it is set again, and another run can neither set nor lift it', async () => {
      const fenced = await visitor.rights();
      expect(fenced).not.toBe(before);
      expect((await fences.fenceStore({ placement, owner, expiresAt })).inForce).toBe(true);
      expect(await visitor.rights()).toBe(fenced);
      for (const attempt of [
        fences.fenceStore({ placement, owner: another, expiresAt }),
        fences.liftFence({ placement, owner: another }),
      ])
        await expect(attempt).rejects.toMatchObject({ kind: 'NotOurs', message: expect.stringContaining(owner.runId) });
      expect(await visitor.rights()).toBe(fenced);
      await fences.fenceStore({ placement, owner, expiresAt: '2099-02-02T00:00:00Z' });
      expect(await fences.fenceState({ placement })).toMatchObject({
        fence: { owner, expiresAt: '2099-02-02T00:00:00Z' },
        inForce: true,
      });
    });

    it('refuses an expiry that is no time', async () => {
      const wrong = fences.fenceStore({ placement, owner, expiresAt: 'tomorrow' });
      await expect(wrong).rejects.toThrow(CloudError);
      await expect(wrong).rejects.toThrow('expiresAt: found "tomorrow"');
    });

    it('is lifted without a trace: the writer writes again, under rights that are the same to the byte', async () => {
      const again = writer.until(undefined);
      expect(await fences.liftFence({ placement, owner })).toEqual({ outcome: 'lifted' });
      await again;
      expect(await visitor.rights()).toBe(before);
      expect(await fences.liftFence({ placement, owner })).toEqual({ outcome: 'none' });
      expect(await fences.liftFence({ placement, owner: another })).toEqual({ outcome: 'none' });
      expect(await fences.fenceState({ placement })).toEqual({ fence: null, inForce: false, escapes: [] });
    });

    it('that comes late, after it was lifted, is found and lifted again', async () => {
      const refused = writer.until(403);
      const late = await provider.fence.read(placement, [], signal());
      await late.apply(late.fenced(late.now, { owner, expiresAt }));
      await refused;
      expect(await fences.fenceState({ placement })).toMatchObject({ fence: { owner } });
      await expect(fences.liftFence({ placement, owner: another })).rejects.toMatchObject({ kind: 'NotOurs' });
      expect(await fences.liftFence({ placement, owner })).toEqual({ outcome: 'lifted' });
      expect(await visitor.rights()).toBe(before);
    });

    it('can be set anew by another run after that', async () => {
      const refused = writer.until(403);
      await fences.fenceStore({ placement, owner: another, expiresAt });
      await refused;
      await fences.liftFence({ placement, owner: another });
      expect(await visitor.rights()).toBe(before);
    });

    it('lets through whom it exempts', async () => {
      const exempt = [visitor.name];
      expect(await fences.fenceStore({ placement, owner, expiresAt, exempt })).toMatchObject({ inForce: true });
      await visitor.write('exempt', 'written');
      expect(await visitor.read('exempt')).toBe('written');
      expect(await fences.fenceState({ placement })).toMatchObject({ fence: { owner }, inForce: true });
      await fences.liftFence({ placement, owner });
      expect(await visitor.rights()).toBe(before);
    });
  });
});
