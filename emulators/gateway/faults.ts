/** What goes wrong on the way to a local cloud: latency added to each call, and faults for the calls that match. */
import { z } from 'zod';
import { causes } from './answers.ts';
import type { Call } from './calls.ts';

export const Fault = z.strictObject({
  /** For people and for `Call.fault`. */
  name: z.string().default('fault'),
  /** Every given field must match: exact, or as a regular expression between slashes. */
  match: z
    .strictObject({
      cloud: z.string(),
      listener: z.string(),
      method: z.string(),
      host: z.string(),
      path: z.string(),
      action: z.string(),
      caller: z.string(),
      mutating: z.boolean(),
    })
    .partial()
    .default({}),
  /** Matching calls that are let through before the first fault. */
  skip: z.number().int().min(0).default(0),
  /** How many calls it hits; without it every one. */
  times: z.number().int().min(1).optional(),
  /** A quota: it hits what comes above so many calls in a second. */
  perSecond: z.number().gt(0).optional(),
  /**
   * `lose-request`: the connection breaks before the cloud sees the call. `lose-answer`: the cloud does it, then the
   * connection breaks. `answer`: the cloud never sees it, `status` and `body` are answered. `delay`: it arrives `delayMs` later.
   * `late`: the connection breaks at once, and the cloud does it `delayMs` later. `refuse` and `refuse-after`: the cloud says
   * `cause` in its own words, without doing it or after having done it. `cut`: half of the answer, then the connection
   * breaks. `slow`: the answer trickles, for `delayMs` in all. `reset`: TCP's reset ends the TLS connection before the cloud
   * sees the call. `black-hole`: nothing is ever answered, and the cloud never sees the call. `outage`: no connection to the cloud stands, of any protocol.
   */
  effect: z.enum([
    'lose-request',
    'lose-answer',
    'answer',
    'delay',
    'late',
    'refuse',
    'refuse-after',
    'cut',
    'slow',
    'reset',
    'black-hole',
    'outage',
  ]),
  cause: z.enum(causes).default('unavailable'),
  retryAfterSeconds: z.number().min(0).default(1),
  /** ISO time after which it is healed by itself. */
  until: z.iso.datetime().optional(),
  status: z.number().int().min(400).max(599).default(503),
  headers: z.record(z.string(), z.string()).default({}),
  body: z.string().default(''),
  delayMs: z.number().int().min(0).default(0),
});
export type Fault = z.infer<typeof Fault>;

export const Latency = z.record(z.string(), z.number().min(0));

function matches(wanted: string, value: string | undefined): boolean {
  if (value === undefined) return false;
  const expression = /^\/(.*)\/$/.exec(wanted)?.[1];
  return expression === undefined ? wanted === value : new RegExp(expression).test(value);
}

interface Armed {
  id: number;
  fault: Fault;
  seen: number;
  hits: number;
  /** Calls that the quota has room for, and when that was so. */
  room?: { calls: number; at: number };
}

/** Whether a call is within the quota, as a bucket of a second's calls counts it. */
function fits(armed: Armed, perSecond: number): boolean {
  const now = performance.now();
  const { calls, at } = armed.room ?? { calls: perSecond, at: now };
  const left = Math.min(perSecond, calls + ((now - at) * perSecond) / 1000);
  armed.room = { calls: left >= 1 ? left - 1 : left, at: now };
  return left >= 1;
}

export class Faults {
  #armed: Armed[] = [];
  #last = 0;
  readonly #listeners: (() => void)[] = [];
  /** Milliseconds added to each call, by cloud; `*` is every other one. */
  latency: z.infer<typeof Latency>;

  constructor(latencyMs: number) {
    this.latency = { '*': latencyMs };
  }

  delayOf(cloud: string): number {
    return this.latency[cloud] ?? this.latency['*'] ?? 0;
  }

  set(faults: readonly Fault[]): void {
    this.#armed = [];
    for (const fault of faults) this.arm(fault);
  }

  /** Is told when a fault was added. */
  onChange(hear: () => void): void {
    this.#listeners.push(hear);
  }

  /** Adds one fault beside those that others have armed. */
  arm(fault: Fault): Armed {
    const armed = { id: ++this.#last, fault, seen: 0, hits: 0 };
    this.#armed.push(armed);
    for (const hear of this.#listeners) hear();
    return armed;
  }

  /** Takes one fault away; tells how often it hit. */
  disarm(id: number): Armed | undefined {
    const armed = this.#armed.find((one) => one.id === id);
    this.#armed = this.#armed.filter((one) => one !== armed);
    return armed;
  }

  list(): Armed[] {
    return this.#armed;
  }

  /** Whether a fault could look at the operation in a call's body. */
  wantsAction(): boolean {
    return this.#armed.some(({ fault }) => fault.match.action !== undefined);
  }

  /** Whether no connection to this cloud stands now. */
  isAway(cloud: string): boolean {
    return this.#living().some(
      ({ fault: { effect, match } }) =>
        effect === 'outage' && (match.cloud === undefined || matches(match.cloud, cloud)),
    );
  }

  #living(): Armed[] {
    const now = new Date().toISOString();
    return this.#armed.filter(({ fault: { until } }) => until === undefined || until > now);
  }

  /** The fault that hits this call, if any, and counts it. */
  hit(call: Call): Fault | undefined {
    for (const armed of this.#living()) {
      const { match, skip, times, effect, perSecond } = armed.fault;
      if (effect === 'outage') continue;
      if (match.mutating !== undefined && match.mutating !== call.mutating) continue;
      const fields = ['cloud', 'listener', 'method', 'host', 'path', 'action', 'caller'] as const;
      if (!fields.every((field) => match[field] === undefined || matches(match[field], call[field]))) continue;
      armed.seen++;
      if (armed.seen <= skip || (times !== undefined && armed.hits >= times)) continue;
      if (perSecond !== undefined && fits(armed, perSecond)) continue;
      armed.hits++;
      return armed.fault;
    }
    return undefined;
  }
}
