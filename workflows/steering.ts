/**
 * Steering the traffic of a service with a front of its own: by weights in the zone, or in the load balancer where the estate has
 * one. In steps, each held and judged by what the front tells; what was there before is written back by an undo.
 */
import * as wf from '@temporalio/workflow';
import type { LoadedEstate } from '../activities/estate/load.ts';
import type { WeightActivities } from '../activities/traffic/weights.ts';
import { durationMs } from '../model/duration.ts';
import type { Steered } from '../model/operations.ts';
import {
  backendName,
  type FrontCounters,
  frontName,
  inOrder,
  judgeStep,
  largestWeight,
  type Shares,
  sameWeights,
  sharesOf,
  shownShares,
  shownTargets,
  stepsBetween,
  type TrafficPlace,
  type WeightedRecord,
  weightsOf,
} from '../model/traffic.ts';
import { balancer, cloud, failure, urgent } from './calls.ts';
import { unlessInTheWay } from './endpoints.ts';
import type { Operation } from './operation.ts';

/** What steers a service: where its weights are, and its fronts. */
export interface Steering {
  at: TrafficPlace;
  service: string;
  /** Of the estate. */
  uid: string;
  ttlSeconds: number;
  /** Largest weight that can be held there. */
  largest: number;
  /** Addresses by provider. */
  fronts: Readonly<Record<string, string>>;
}

/** Undefined where the estate names no fronts of the service, or its zone's provider is not enabled. */
export async function steeringOf(
  { traffic, providers }: LoadedEstate['estate'],
  { service, uid }: { service: string; uid: string },
): Promise<Steering | undefined> {
  const fronts = traffic?.fronts?.[service];
  if (!traffic || !fronts) return undefined;
  const address = traffic.load_balancer?.haproxy;
  if (address)
    return { at: { by: 'haproxy', address }, service, uid, ttlSeconds: 0, largest: largestWeight.haproxy, fronts };
  const { dns: provider, zone } = traffic;
  const holder = providers.find(({ name, enabled }) => name === provider && enabled);
  if (!holder) return undefined;
  const account = await cloud(provider, 'account').account({ provider });
  return {
    at: { by: 'dns', provider, account, zone },
    service,
    uid,
    ttlSeconds: durationMs(traffic.ttl) / 1000,
    largest: largestWeight[holder.type],
    fronts,
  };
}

/** Those of a load balancer need nobody's credentials: the workers of the workflows reach it. */
const calls = ({ at, service }: Steering, how: typeof cloud): WeightActivities =>
  at.by === 'dns' ? how(at.provider, `traffic of ${service}`) : balancer(`traffic of ${service}`);

export const readWeights = (steering: Steering): Promise<WeightedRecord | null> => {
  const { at, service, uid } = steering;
  return calls(steering, cloud).readWeights({ at, service, uid });
};

export const steered = ({ at, service, uid }: Steering, record: WeightedRecord | null): Steered => ({
  name: at.by === 'dns' ? frontName({ service, zone: at.zone }) : `${at.address} ${backendName({ service, uid })}`,
  targets: record?.targets ?? [],
});

const spreadOf = (record: WeightedRecord | null): Shares =>
  sharesOf(Object.fromEntries((record?.targets ?? []).map(({ provider, weight }) => [provider, weight])));

export interface Turn {
  /** As `readWeights` has told. */
  before: WeightedRecord | null;
  steps: { percent: number; shares: Shares }[];
  holdMs: number;
  /** Largest share of requests that may fail, 0 to 1. */
  errorShare: number;
}

/** From what is to these shares, in steps; one alone where only addresses or the TTL have changed. */
export function turnTo(
  { fronts, ttlSeconds }: Steering,
  { before, ...watched }: Omit<Turn, 'steps'>,
  { to, percents }: { to: Shares; percents: readonly number[] },
): Turn {
  const steps = stepsBetween({ from: spreadOf(before), to, percents });
  const stale =
    before?.ttlSeconds !== ttlSeconds ||
    before.targets.some(({ provider, host }) => (fronts[provider] ?? host) !== host);
  return {
    before,
    ...watched,
    steps: steps.length === 0 && stale ? [{ percent: 100, shares: spreadOf(before) }] : steps,
  };
}

/** Carries the steps out. One whose targets fail ends with `TrafficSwitchFailed`: the undo goes back. */
export async function steer(op: Operation, steering: Steering, turn: Turn): Promise<WeightedRecord | null> {
  const { at, service, uid } = steering;
  const { before, steps, holdMs, errorShare } = turn;
  const own: WeightedRecord[] = [];
  op.saga.add({
    step: `${service}/traffic`,
    orphan: {
      provider: at.by === 'dns' ? at.provider : 'haproxy',
      kind: 'traffic weights',
      name: steered(steering, null).name,
    },
    undo: () => restore(steering, before, own),
  });
  const name = ({ percent }: { percent: number }): string => `${service}/traffic ${percent} %`;
  op.board.expect(steps.map(name));
  let current = before;
  for (const step of steps) {
    const expected = current;
    const wanted = recordOf(steering, expected, step.shares);
    own.push(wanted);
    const last = spreadOf(expected);
    const gaining = Object.entries(step.shares).flatMap(([key, share]) => (share > (last[key] ?? 0) ? [key] : []));
    await op.board.step(
      name(step),
      async () => {
        const counted = await counters(steering);
        await op.held(service, () => calls(steering, cloud).setWeights({ at, record: wanted, expected }));
        op.board.record('run', `steers ${service}: ${shownShares(step.shares)}`, steered(steering, null).name);
        await wf.sleep(Math.max(1, (expected?.ttlSeconds ?? 0) * 1000 + holdMs));
        const wrong = judgeStep({ before: counted, after: await counters(steering), gaining, errorShare });
        if (wrong.length > 0)
          throw failure(
            'TrafficSwitchFailed',
            `At ${shownShares(step.shares)}: ${wrong.join('; ')}. Traffic goes back.`,
          );
      },
      () => shownShares(step.shares),
    );
    current = wanted;
  }
  return current;

  async function counters({ at: place }: Steering): Promise<FrontCounters[]> {
    if (place.by === 'dns') return []; // a name server does not hear how its answers fare
    return op.held(service, () => balancer(`requests of ${service}`).readCounters({ at: place, service, uid }));
  }
}

/** Takes the name of a service away that is about to go. A load balancer's backend is its own file's: it stays. */
export async function withdrawWeights(op: Operation, steering: Steering | undefined): Promise<void> {
  if (steering?.at.by !== 'dns') return;
  const { at, service, uid } = steering;
  await op.board.step(
    `${service}/traffic`,
    () =>
      unlessInTheWay(op, { name: steered(steering, null).name, without: 'no weights' }, async () => {
        const remove = () => urgent(at.provider, `traffic of ${service}`).removeWeights({ at, service, uid });
        return (await op.held(service, remove)).changed ? 'weights taken away' : 'there were none';
      }),
    (detail) => detail,
  );
}

/** Brings the weights from what this run has set to what was read before. What somebody else has set since stays. */
async function restore(
  steering: Steering,
  before: WeightedRecord | null,
  own: readonly WeightedRecord[],
): Promise<string> {
  const { at, service, uid } = steering;
  const act = calls(steering, urgent);
  const now = await act.readWeights({ at, service, uid });
  if (![before, ...own].some((one) => sameWeights(one, now)))
    return `somebody else has steered it since; left at ${now ? shownTargets(now.targets) : 'nothing'}`;
  const { changed } = before
    ? await act.setWeights({ at, record: before, expected: now })
    : await act.removeWeights({ at, service, uid });
  return changed ? 'weights as before' : 'weights unchanged';
}

/** Every target that is or was there keeps its place, with the address that the estate names now. */
function recordOf(steering: Steering, before: WeightedRecord | null, shares: Shares): WeightedRecord {
  const { service, uid, ttlSeconds, largest, fronts } = steering;
  const weights = weightsOf(shares, largest);
  const known = Object.fromEntries((before?.targets ?? []).map(({ provider, host }) => [provider, host]));
  const targets = Object.entries(weights).map(([provider, weight]) => ({
    provider,
    host: fronts[provider] ?? known[provider] ?? '',
    weight,
  }));
  return { uid, service, ttlSeconds, targets: inOrder(targets) };
}
