/** Rehearsing a migration on a sample: how large it is, and what its measures say of the whole. Pure. */
import type { Step } from './progress.ts';
import type { Amount } from './transfer.ts';

/** Fewer objects than this tell nothing. */
const leastObjects = 10;

/** The name that the sample goes by; a long one is cut, so that it is one that a service can have. */
export const rehearsalOf = (service: string): string => `${service.slice(0, 21)}-rehearsal`;

/** Every n-th object of so many is in the sample: at most this share (`1%`), but ten objects where there are as many. */
export const everyNth = (objects: number, share: string): number =>
  Math.max(1, Math.min(Math.ceil(100 / Number.parseFloat(share)), Math.floor(objects / leastObjects)));

export interface Rehearsal {
  service: string;
  from: string;
  to: string;
  sample: Amount;
  /** What the source holds. */
  whole: Amount;
  /** With the sample; milliseconds and what moved in a second. */
  measured: {
    /** Copying and comparing. */
    copyMs: number;
    objectsPerSecond: number;
    bytesPerSecond: number;
    /** From the fence to the switch: so long writers are refused. */
    refusedMs: number;
    /** Listing the whole source once. */
    listMs: number;
  };
  /** For the whole, with as many workers as now. */
  forecast: {
    copyMs: number;
    /**
     * At least, at most: the last delta looks at every object. At least, where that takes as long as listing the source; at
     * most, where it takes for each object what it took in the sample.
     */
    refusedMs: [number, number];
    /** What leaves the source's cloud, list price; undefined where it has none. */
    oneTimeUsd?: number | undefined;
    monthlyUsd: number;
  };
}

/** From the steps of the rehearsed migration. */
export function forecastOf(
  moved: Pick<Rehearsal, 'service' | 'from' | 'to' | 'sample' | 'whole'>,
  steps: readonly Step[],
  listMs: number,
  cost: Pick<Rehearsal['forecast'], 'oneTimeUsd' | 'monthlyUsd'>,
): Rehearsal {
  const at = (name: string, which: 'startedAt' | 'finishedAt'): number =>
    Date.parse(steps.find((step) => step.name === name)?.[which] ?? '');
  const took = (from: string, to = from): number => Math.max(1, at(to, 'finishedAt') - at(from, 'startedAt'));
  const { sample, whole } = moved;
  const copyMs = took('copy');
  const refusedMs = took('fence', 'switch');
  const deltaMs = took('last delta');
  const scale = whole.objects / Math.max(1, sample.objects);
  const byBytes = sample.bytes > 0 ? whole.bytes / sample.bytes : 1;
  const least = refusedMs + listMs;
  return {
    ...moved,
    measured: {
      copyMs,
      objectsPerSecond: (1000 * sample.objects) / copyMs,
      bytesPerSecond: (1000 * sample.bytes) / copyMs,
      refusedMs,
      listMs,
    },
    forecast: {
      copyMs: Math.ceil(copyMs * Math.max(scale, byBytes)),
      refusedMs: [least, Math.max(least, Math.ceil(refusedMs + deltaMs * (scale - 1)))],
      ...cost,
    },
  };
}
