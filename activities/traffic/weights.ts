/** The weights of a service's traffic, in the zone or in the load balancer that its estate names. What they mean: `model/traffic.ts`. */
import { ApplicationFailure, Context } from '@temporalio/activity';
import { CloudError } from '../../model/errors.ts';
import {
  backendName,
  type FrontCounters,
  frontName,
  sameWeights,
  shownTargets,
  type TrafficPlace,
  WeightedRecord,
} from '../../model/traffic.ts';
import { asFailure } from '../providers/calls.ts';
import type { WeightedName, WeightedSet, WeightsDriver } from '../providers/driver.ts';
import { guarded } from '../providers/provision.ts';
import type { EndpointDependencies } from './endpoint-records.ts';
import { Haproxy } from './haproxy.ts';

/**
 * Weights in a zone are served on the queues of the provider that holds it, those of a load balancer on the queue of the
 * workflows. `NotFound` where the zone or the backend does not exist; `NotOurs` where somebody else's answers stand under the name.
 */
export interface WeightActivities {
  readWeights(input: { at: TrafficPlace; service: string; uid: string }): Promise<WeightedRecord | null>;
  /**
   * Sets the weights, and the targets' addresses, and waits until they are in force; nothing is done where they are so already.
   * With `expected` only over that very record (null: over none), else `TrafficSwitchFailed`: read first, and let a compensation
   * set what was read. `before`: what was expected, or stood there.
   */
  setWeights(input: {
    at: TrafficPlace;
    record: WeightedRecord;
    expected?: WeightedRecord | null;
  }): Promise<{ before: WeightedRecord | null; changed: boolean }>;
  /** Takes the name away, so that nobody is answered any more. `NotSupported` by a load balancer, whose backends its own file makes. */
  removeWeights(input: { at: TrafficPlace; service: string; uid: string }): Promise<{ changed: boolean }>;
}

/** A driver for one activity, with what its failures are told as. */
interface Reached {
  driver: WeightsDriver;
  name: WeightedName;
  signal: AbortSignal;
  /** Runs a call; what it throws leaves as a `CloudError`. */
  guarded<T>(operation: string, call: () => Promise<T>): Promise<T>;
}

interface WeightDependencies {
  reach<T>(at: TrafficPlace, of: { service: string; uid: string }, act: (reached: Reached) => Promise<T>): Promise<T>;
  /** Whether an earlier attempt may have changed something and lost the answer. */
  isRepeated(): boolean;
}

/** Somebody else changed them between our look and our change. */
const conflicts = ['AlreadyExists', 'PreconditionFailed', 'NotFound'];

function createWeightActivities({ reach, isRepeated }: WeightDependencies): WeightActivities {
  async function find({ driver, name, signal, guarded }: Reached): Promise<WeightedSet | undefined> {
    const found = await guarded('find the weights', () => driver.find(name, signal));
    const { record } = found ?? {};
    if (!found || (record?.uid === name.uid && record.service === name.service)) return found;
    throw new CloudError(
      { kind: 'NotOurs', provider: name.zone, operation: 'weights', resource: name.name },
      record
        ? `the weights of the service ${record.service} of the estate with the UID ${record.uid} stand there; nothing was changed`
        : 'something stands there that this estate has not made; nothing was changed. Move it to another name, or name another zone in `traffic`',
    );
  }

  /** Brings the weights to `wanted` (null: none), over `expected` where that is given. */
  async function bring(
    reached: Reached,
    wanted: WeightedRecord | null,
    expected: WeightedRecord | null | undefined,
  ): Promise<{ before: WeightedRecord | null; changed: boolean }> {
    const { driver, name, signal, guarded } = reached;
    for (let tries = 3; ; tries--) {
      const before = await find(reached);
      const record = before?.record ?? null;
      const same = sameWeights(record, wanted);
      const stands = same && (before?.whole ?? true);
      // The earlier attempt's change may not be everywhere yet: the same one again is waited for.
      if (stands && !(before && isRepeated()))
        return { before: expected === undefined ? record : expected, changed: false };
      if (!same && expected !== undefined && !sameWeights(record, expected))
        throw ApplicationFailure.nonRetryable(
          `${name.name} is ${shown(record)}, and ${shown(expected)} was expected; nothing was changed. Somebody else has steered it meanwhile: look at it, then start again or undo.`,
          'TrafficSwitchFailed',
        );
      try {
        await guarded('set the weights', () => driver.replace({ ...name, before, after: wanted ?? undefined }, signal));
        return { before: expected === undefined ? record : expected, changed: !stands };
      } catch (error) {
        if (tries === 1 || !(error instanceof CloudError) || !conflicts.includes(error.kind)) throw error;
      }
    }
  }

  return {
    readWeights: ({ at, ...of }) => reach(at, of, async (reached) => (await find(reached))?.record ?? null),

    setWeights: ({ at, record: given, expected }) => {
      const parsed = WeightedRecord.safeParse(given);
      if (!parsed.success) {
        const [issue] = parsed.error.issues;
        throw ApplicationFailure.nonRetryable(`record.${issue?.path.join('.')}: ${issue?.message}`, 'InvalidInput');
      }
      return reach(at, parsed.data, (reached) => bring(reached, parsed.data, expected));
    },

    removeWeights: ({ at, ...of }) =>
      reach(at, of, async (reached) => ({ changed: (await bring(reached, null, undefined)).changed })),
  };
}

/** Weights in the zone of a cloud. */
export function createZoneWeightActivities({
  atAccount,
  isRepeated,
}: Pick<EndpointDependencies, 'atAccount' | 'isRepeated'>): WeightActivities {
  return createWeightActivities({
    isRepeated,
    reach(at, { service, uid }, act) {
      if (at.by !== 'dns') throw ApplicationFailure.nonRetryable(`at.by: found ${at.by}; allowed: dns`, 'InvalidInput');
      const { provider: name, account, zone } = at;
      const front = frontName({ service, zone });
      return atAccount({ provider: name, account, resource: service }, (provider, signal) =>
        act({
          driver: provider.weights,
          name: { account, zone, name: front, service, uid },
          signal,
          guarded: (operation, call) => guarded(provider, operation, front, call),
        }),
      );
    },
  });
}

export interface BalancerActivities extends WeightActivities {
  /** What the load balancer has counted of each target. */
  readCounters(input: { at: TrafficPlace; service: string; uid: string }): Promise<FrontCounters[]>;
}

/** Weights in a load balancer. `callDeadlineMs`: longest that one answer may take. */
export function createBalancerActivities({ callDeadlineMs }: { callDeadlineMs: number }): BalancerActivities {
  const balancer = (at: TrafficPlace): Haproxy => {
    if (at.by === 'haproxy') return new Haproxy({ address: at.address, deadlineMs: callDeadlineMs });
    throw ApplicationFailure.nonRetryable(`at.by: found ${at.by}; allowed: haproxy`, 'InvalidInput');
  };
  const signal = (): AbortSignal => Context.current().cancellationSignal;
  return {
    ...createWeightActivities({
      isRepeated: () => false, // what is read back is in force
      reach: (at, { service, uid }, act) => {
        const name = backendName({ service, uid });
        return asFailure(() =>
          act({
            driver: balancer(at),
            name: { account: '', zone: 'haproxy', name, service, uid },
            signal: signal(),
            guarded: (_, call) => call(),
          }),
        );
      },
    }),
    readCounters: ({ at, ...of }) => asFailure(() => balancer(at).counters(of, signal())),
  };
}

const shown = (record: WeightedRecord | null): string => (record ? shownTargets(record.targets) : 'not there');
