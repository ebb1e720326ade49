/**
 * Reading what devices say, whichever cloud they say it to: each message once, though streams repeat, reorder, and overlap while
 * a fleet moves. One `Repeats` stands behind all the streams of a service.
 *
 *     const repeats = new Repeats();
 *     await readTelemetry({ stream: queueStream({ sqs, queueUrl }), repeats, onMessage: store, signal });
 */
import type { Repeats } from './repeats.ts';

/** What a stream brings. */
export interface Arrived {
  /** Who sent it, by the cloud's own word. */
  device: string;
  /** What was sent: a JSON object as a rule, whatever it is otherwise. */
  data: unknown;
}

/**
 * Reads until `signal` aborts. `take` resolves once all of them were handled and need not come again; where it rejects, they
 * come again.
 */
export type TelemetryStream = (take: (batch: Arrived[]) => Promise<void>, signal: AbortSignal) => Promise<void>;

export interface TelemetryMessage {
  device: string;
  /** `<device>/<boot>/<sequence>` */
  key: string;
  data: Record<string, unknown>;
  /** So old that it may have been delivered before. */
  late: boolean;
}

export interface ReadOptions {
  stream: TelemetryStream;
  /** Shared by all streams of a service. */
  repeats: Repeats;
  /** What throws here comes again. */
  onMessage: (message: TelemetryMessage) => Promise<void> | void;
  /** Told of what bears no key, or that of another device: a device can't make others' messages count as repeats. */
  onOther?: (message: Arrived) => Promise<void> | void;
  signal: AbortSignal;
}

/** How many came, by what became of them. */
export interface ReadCounts {
  new: number;
  late: number;
  repeat: number;
  other: number;
}

export async function readTelemetry({
  stream,
  repeats,
  onMessage,
  onOther = () => {},
  signal,
}: ReadOptions): Promise<ReadCounts> {
  const counts: ReadCounts = { new: 0, late: 0, repeat: 0, other: 0 };
  const take = async (message: Arrived): Promise<void> => {
    const { device, data } = message;
    const key = isObject(data) && typeof data.key === 'string' ? data.key : '';
    if (isObject(data) && key.startsWith(`${device}/`)) {
      const verdict = await repeats.once(key, async (seen) => onMessage({ device, key, data, late: seen === 'late' }));
      if (verdict !== 'malformed') {
        counts[verdict]++;
        return;
      }
    }
    await onOther(message);
    counts.other++;
  };
  await stream(async (batch) => {
    for (const message of batch) await take(message);
  }, signal);
  return counts;
}

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);
