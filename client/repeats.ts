/**
 * Which messages were seen. Streams are at-least-once: they repeat, reorder, and overlap while a fleet moves. What a device says
 * bears a key that counts (`<device>/<boot>/<sequence>`), so a mark a life and the gaps below it tell a repeat from what is late.
 */
import { z } from 'zod';
import { parseMessageKey } from '../model/device-endpoint.ts';

/**
 * - `new`: not seen before.
 * - `repeat`: seen.
 * - `late`: so old that it is no longer known which of the two.
 * - `malformed`: no key.
 */
export type Verdict = 'new' | 'repeat' | 'late' | 'malformed';

export interface RepeatsOptions {
  /** Runs of missing messages that are remembered of each life of a device; older ones are `late` when they come. */
  gaps?: number;
  /** Lives (starts) that are remembered of each device; messages of an older one are `late`. */
  lives?: number;
  /** Devices that are remembered. What the one that was silent for longest has said is forgotten, and would be `new` again. */
  devices?: number;
  /** What `toJSON` gave. */
  from?: unknown;
}

const Count = z.int().min(0);
const Saved = z.array(
  z.tuple([
    z.string(),
    /** Highest boot that was forgotten. */
    Count,
    z.array(z.tuple([Count, Count, Count, z.array(z.tuple([Count, Count]))])),
  ]),
);
type Saved = z.infer<typeof Saved>;

/** What was seen of one life: all up to `high`, without the gaps. */
interface Life {
  high: number;
  /** First and last of each run that is missing, in order. */
  gaps: [first: number, last: number][];
  /** Up to here gaps were forgotten. */
  forgotten: number;
}

interface Device {
  lives: Map<number, Life>;
  /** Highest boot whose life was forgotten. */
  forgotten: number;
}

/** Memory: devices x lives x gaps, three numbers each at the most; one life without a gap in the usual case. */
export class Repeats {
  readonly #maxGaps: number;
  readonly #maxLives: number;
  readonly #maxDevices: number;
  /** The one that was silent for longest comes first. */
  readonly #devices = new Map<string, Device>();
  readonly #underWay = new Map<string, Promise<unknown>>();

  constructor({ gaps = 1000, lives = 4, devices = 1_000_000, from = [] }: RepeatsOptions = {}) {
    this.#maxGaps = gaps;
    this.#maxLives = lives;
    this.#maxDevices = devices;
    for (const [name, forgotten, lived] of Saved.parse(from)) {
      const map = lived.map(([boot, high, forgot, missing]): [number, Life] => [
        boot,
        { high, gaps: missing, forgotten: forgot },
      ]);
      this.#devices.set(name, { lives: new Map(map), forgotten });
    }
  }

  /** For a file that is written together with the position in the stream. */
  toJSON(): Saved {
    return [...this.#devices].map(([name, { lives, forgotten }]) => [
      name,
      forgotten,
      [...lives].map(([boot, life]) => [boot, life.high, life.forgotten, life.gaps]),
    ]);
  }

  /**
   * Handles a message unless it is a repeat, also where two streams bring it at once. It counts as seen once `handle` has
   * succeeded: what failed is `new` when it comes again. Throws what `handle` throws.
   */
  async once(key: string, handle: (verdict: 'new' | 'late') => Promise<void>): Promise<Verdict> {
    for (let other = this.#underWay.get(key); other; other = this.#underWay.get(key)) await other.catch(() => {});
    const verdict = this.judge(key);
    if (verdict === 'repeat' || verdict === 'malformed') return verdict;
    const handling = handle(verdict);
    this.#underWay.set(key, handling);
    try {
      await handling;
      this.record(key);
    } finally {
      this.#underWay.delete(key);
    }
    return verdict;
  }

  judge(key: string): Verdict {
    const parsed = parseMessageKey(key);
    if (!parsed) return 'malformed';
    const { device: name, boot, sequence } = parsed;
    const device = this.#devices.get(name);
    const life = device?.lives.get(boot);
    if (!life) return boot <= (device?.forgotten ?? 0) ? 'late' : 'new';
    if (sequence > life.high || gapOf(life, sequence) >= 0) return 'new';
    return sequence <= life.forgotten ? 'late' : 'repeat';
  }

  record(key: string): void {
    const parsed = parseMessageKey(key);
    if (!parsed) return;
    const { device: name, boot, sequence } = parsed;
    const device = this.#devices.get(name) ?? { lives: new Map<number, Life>(), forgotten: 0 };
    this.#devices.delete(name);
    this.#devices.set(name, device);
    if (this.#devices.size > this.#maxDevices) this.#devices.delete(this.#devices.keys().next().value ?? '');
    if (boot <= device.forgotten) return;
    const life = device.lives.get(boot) ?? { high: 0, gaps: [], forgotten: 0 };
    device.lives.set(boot, life);
    if (device.lives.size > this.#maxLives) {
      device.forgotten = Math.min(...device.lives.keys());
      device.lives.delete(device.forgotten);
    }
    see(life, sequence);
    const [oldest] = life.gaps;
    if (oldest && life.gaps.length > this.#maxGaps) {
      life.gaps.shift();
      life.forgotten = oldest[1];
    }
  }
}

/** Place of the gap that a number lies in, or -1. */
const gapOf = ({ gaps }: Life, sequence: number): number =>
  gaps.findIndex(([first, last]) => first <= sequence && sequence <= last);

function see(life: Life, sequence: number): void {
  if (sequence > life.high) {
    if (sequence > life.high + 1) life.gaps.push([life.high + 1, sequence - 1]);
    life.high = sequence;
    return;
  }
  const at = gapOf(life, sequence);
  const [first, last] = life.gaps[at] ?? [];
  if (first === undefined || last === undefined) return;
  const rest: Life['gaps'] = [
    [first, sequence - 1],
    [sequence + 1, last],
  ];
  life.gaps.splice(at, 1, ...rest.filter(([from, to]) => from <= to));
}
