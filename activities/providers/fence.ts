/**
 * Fencing a store: writers other than our workers are refused by the cloud, readers go on. What is the same on every cloud:
 * the record that says whose the fence is and what to restore, the order of writing, the proofs before and after. What a
 * fence is: `model/fence.ts`; what it is on one cloud: its `FenceDriver`.
 */
import { isDeepStrictEqual } from 'node:util';
import { CloudError } from '../../model/errors.ts';
import { Fence, type FenceOwner, type FenceProof, FenceRecord, type FenceState, fenceKey } from '../../model/fence.ts';
import { recordsPlacement } from '../../model/records.ts';
import type { JsonObject, Placement, ProviderType, ServiceType } from '../../model/service.ts';
import type { EnsureBucket } from '../records/bucket.ts';
import type { FenceMark, Provider, StoreRights } from './driver.ts';
import { guarded } from './provision.ts';

/** Runs an act with the provider of a placement; its failure leaves as the contract's error types. */
export type AtPlacement = <T>(
  placement: Placement,
  act: (provider: Provider, signal: AbortSignal) => Promise<T>,
) => Promise<T>;

/** For placements of `storage` and `data_lake`; `NotSupported` for others. Served on the queues of the placement's provider. */
export interface FenceActivities {
  /** Looks, and changes nothing: rights, the undo tried out, who writes, what is under way. */
  proveFence(input: { placement: Placement }): Promise<FenceProof>;
  /**
   * Sets the fence, or takes up what an earlier attempt of the same owner has begun; again with a later `expiresAt` prolongs it.
   * `NotOurs` where another run's fence stands. Ends when the store's rights are as wanted and we can still write; the cloud
   * may need `FenceProof.settles` longer until everybody is refused.
   */
  fenceStore(input: {
    placement: Placement;
    owner: FenceOwner;
    expiresAt: string;
    /** Identities that it lets through, besides the one of this worker; as `nameWriter` tells them. */
    exempt?: readonly string[];
  }): Promise<FenceState>;
  /** Restores what was there before. Nothing where no fence stands; `NotOurs` where another run's does. */
  liftFence(input: { placement: Placement; owner: FenceOwner }): Promise<{ outcome: 'lifted' | 'none' }>;
  fenceState(input: { placement: Placement }): Promise<FenceState>;
}

export interface FenceDependencies {
  atPlacement: AtPlacement;
  ensureBucket: EnsureBucket;
  /** What a worker needs on a cloud for a service type, fences included. */
  needed(provider: ProviderType, type: ServiceType): readonly string[];
}

interface Kept {
  record: FenceRecord;
  version: string;
}

/**
 * The rights without a fence of ours: one may stand there already, or have been lifted before a call of it came late. What it did
 * is no part of what was before.
 */
const unfenced = (rights: StoreRights, kept: Kept | undefined): JsonObject =>
  rights.marked ? rights.lifted(rights.now, kept?.record.before ?? rights.now) : rights.now;

export function createFenceActivities({ atPlacement, ensureBucket, needed }: FenceDependencies): FenceActivities {
  /** One store of one placement, and the record of its fence. */
  class FencedStore {
    readonly #provider: Provider;
    readonly #placement: Placement;
    readonly #signal: AbortSignal;
    readonly #records: Placement;
    readonly #key: string;

    constructor(provider: Provider, placement: Placement, signal: AbortSignal) {
      this.#provider = provider;
      this.#placement = placement;
      this.#signal = signal;
      this.#records = recordsPlacement(placement.owner, placement);
      const { service, generation } = placement.owner;
      this.#key = fenceKey({ service, provider: placement.provider, generation });
    }

    read = (exempt: readonly string[]): Promise<StoreRights> =>
      this.#run('read', () => this.#provider.fence.read(this.#placement, exempt, this.#signal));

    /** The record of a fence, and the rights as that fence sees them. */
    async both(): Promise<[Kept | undefined, StoreRights]> {
      const kept = await this.record();
      return [kept, await this.read(kept?.record.exempt ?? [])];
    }

    survey = () => this.#run('survey', () => this.#provider.fence.survey(this.#placement, this.#signal));

    apply = (rights: StoreRights, wanted: JsonObject): Promise<void> => this.#run('apply', () => rights.apply(wanted));

    missing = (): Promise<string[]> => {
      const asked = needed(this.#provider.type, this.#placement.type);
      return this.#run('preflight', () => this.#provider.missingPermissions(asked, this.#placement, this.#signal));
    };

    /**
     * Tries whether we can still write, and leaves nothing: over a version that no object of the store has, such a write fails
     * for that reason alone, and the cloud looks at rights first.
     */
    async probe({ version }: Kept): Promise<void> {
      const key = '.multi-cloud-fence-probe';
      try {
        await this.#run('write', () =>
          this.#provider.objects.put(this.#placement, key, new Uint8Array(), { version }, this.#signal),
        );
      } catch (error) {
        if (error instanceof CloudError && ['PreconditionFailed', 'NotFound'].includes(error.kind)) return;
        throw error;
      }
      throw this.error('PreconditionFailed', `the object ${key} has the version of another one`);
    }

    /** The record of a fence that stands, or has stood; undefined where there was none, or no bucket for it yet. */
    async record(): Promise<Kept | undefined> {
      const found = await this.#run('read the fence record', () =>
        this.#provider.objects.get(this.#records, this.#key, this.#signal),
      );
      if (!found) return undefined;
      const record = FenceRecord.parse(JSON.parse(Buffer.from(found.bytes).toString()));
      if (record.uid !== this.#placement.owner.uid)
        throw this.error('NotOurs', 'its fence record is of another estate');
      return { record, version: found.version };
    }

    /** Over the record that was read: of two runs that fence at once, one is refused. */
    async keep(record: FenceRecord, over: Kept | undefined): Promise<Kept> {
      await ensureBucket(this.#provider, this.#records, this.#signal);
      const bytes = Buffer.from(`${JSON.stringify(record, null, 2)}\n`);
      const condition = over ? { version: over.version } : ({ absent: true } as const);
      const version = await this.#run('write the fence record', () =>
        this.#provider.objects.put(this.#records, this.#key, bytes, condition, this.#signal),
      );
      return { record, version };
    }

    error(kind: 'NotOurs' | 'PreconditionFailed' | 'InvalidInput', explanation: string): CloudError {
      const resource = this.#placement.owner.service;
      return new CloudError({ kind, provider: this.#provider.type, operation: 'fence', resource }, explanation);
    }

    #run<T>(operation: string, step: () => Promise<T>): Promise<T> {
      return guarded(this.#provider, operation, this.#placement.owner.service, step);
    }
  }

  const at = <T>(placement: Placement, act: (store: FencedStore, provider: Provider) => Promise<T>): Promise<T> =>
    atPlacement(placement, (provider, signal) => {
      if (placement.type === 'storage' || placement.type === 'data_lake')
        return act(new FencedStore(provider, placement, signal), provider);
      throw new CloudError(
        { kind: 'NotSupported', provider: provider.type, operation: 'fence', resource: placement.owner.service },
        `a ${placement.type} has no store to fence; storage and data_lake have`,
      );
    });

  return {
    proveFence: ({ placement }) =>
      at(placement, async (store, { fence }) => {
        const [missing, rights, survey, kept] = await Promise.all([
          store.missing(),
          store.read([]),
          store.survey(),
          store.record(),
        ]);
        const before = unfenced(rights, kept);
        const fenced = rights.fenced(before, trial);
        if (!isDeepStrictEqual(rights.lifted(fenced, before), before))
          throw store.error('InvalidInput', 'lifting the fence would not restore the rights that stand there now');
        return {
          missing,
          undo: isDeepStrictEqual(fenced, before)
            ? 'nothing to restore: nobody else has rights to write on the store itself'
            : 'restores the rights that stand there now',
          writers: [...rights.writers, ...survey.writers],
          escapes: [...rights.escapes],
          uploads: survey.uploads,
          unknown: survey.unknown,
          settles: fence.settles,
        };
      }),

    fenceStore: ({ placement, owner, expiresAt, exempt = [] }) =>
      at(placement, async (store) => {
        const asked = Fence.safeParse({ owner, setAt: new Date().toISOString(), expiresAt });
        if (!asked.success)
          throw store.error(
            'InvalidInput',
            `expiresAt: found ${JSON.stringify(expiresAt)}; must be a time in UTC, ISO 8601`,
          );
        let kept = await store.record();
        const standing = kept?.record.state === 'set' ? kept.record : undefined;
        if (standing && !isDeepStrictEqual(standing.owner, owner)) throw store.error('NotOurs', whose(standing.owner));
        const fence = standing ? { ...asked.data, setAt: standing.setAt } : asked.data;
        const rights = await store.read(exempt);
        if (rights.marked && !kept)
          throw store.error('NotOurs', 'a fence stands there and its record is gone; look at the rights of the store');
        if (!kept || standing?.expiresAt !== expiresAt || !isDeepStrictEqual(standing.exempt, exempt)) {
          const before = standing?.before ?? unfenced(rights, kept);
          const record = {
            v: 1 as const,
            uid: placement.owner.uid,
            ...fence,
            state: 'set' as const,
            exempt: [...exempt],
            before,
          };
          kept = await store.keep(record, kept);
        }
        const wanted = rights.fenced(rights.now, fence);
        if (!isDeepStrictEqual(wanted, rights.now)) await store.apply(rights, wanted);
        await store.probe(kept);
        return stateOf(await store.read(exempt), fence);
      }),

    liftFence: ({ placement, owner }) =>
      at(placement, async (store) => {
        const [kept, rights] = await store.both();
        const standing = standingOf(kept, rights);
        if (!kept || !standing) return { outcome: 'none' };
        if (!isDeepStrictEqual(standing.owner, owner)) throw store.error('NotOurs', whose(standing.owner));
        const wanted = rights.lifted(rights.now, standing.before);
        if (!isDeepStrictEqual(wanted, rights.now)) await store.apply(rights, wanted);
        if (standing.state === 'set') await store.keep({ ...standing, state: 'lifted' }, kept);
        return { outcome: 'lifted' };
      }),

    fenceState: ({ placement }) =>
      at(placement, async (store) => {
        const [kept, rights] = await store.both();
        return stateOf(rights, standingOf(kept, rights));
      }),
  };
}

/** Also of a fence that was lifted, where a call that was given up has set it again too late. */
const standingOf = (kept: Kept | undefined, { marked }: StoreRights): FenceRecord | undefined =>
  kept && (kept.record.state === 'set' || marked) ? kept.record : undefined;

/** For the trial of a preflight: nothing of it is ever written. */
const trial: FenceMark = { owner: { workflowId: 'preflight', runId: 'preflight' }, expiresAt: '2000-01-01T00:00:00Z' };

function stateOf(rights: StoreRights, fence: Fence | undefined): FenceState {
  return {
    fence: fence ? { owner: fence.owner, setAt: fence.setAt, expiresAt: fence.expiresAt } : null,
    inForce: fence !== undefined && isDeepStrictEqual(rights.fenced(rights.now, fence), rights.now),
    escapes: [...rights.escapes],
  };
}

const whose = ({ workflowId, runId }: FenceOwner): string =>
  `a fence of the run ${runId} of ${workflowId} stands there; nothing was changed. Let that run lift it, or recover the service.`;
