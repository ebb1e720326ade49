/** How fast a fleet is registered and moves, and when that is done: from what was done so far. Pure. */
import type { ProviderType } from './service.ts';

/**
 * Requests that a device takes: of a listing, and of being registered. One of AWS has a thing, a certificate and a group; an IoT hub
 * lists a thousand at once and takes a hundred.
 */
export const registryCallsPerDevice: Record<ProviderType, { list: number; register: number }> = {
  aws: { list: 6, register: 7 },
  azure: { list: 1 / 1000, register: 1 / 100 },
  gcp: { list: 1, register: 1 },
};

export interface Pace {
  perSecond: number;
  /** Until the rest is done as well. */
  leftMs: number;
}

/** Undefined while nothing can be said. */
export function paceOf(done: number, total: number, elapsedMs: number): Pace | undefined {
  if (done <= 0 || elapsedMs <= 0) return undefined;
  return { perSecond: (1000 * done) / elapsedMs, leftMs: (Math.max(0, total - done) * elapsedMs) / done };
}

/** How long it takes to list what was registered at this pace: requests of both kinds go through the same door. */
export function listingMs(type: ProviderType, devices: number, { perSecond }: Pick<Pace, 'perSecond'>): number {
  const { list, register } = registryCallsPerDevice[type];
  return (1000 * devices * list) / (perSecond * register);
}

/** What is left of the waves: to be told at this rate, and to be judged as long as the ones before were. */
export function wavesLeftMs(
  left: { devices: number; waves: number },
  devicesPerSecond: number,
  judgedMs: readonly number[],
): number {
  const each = judgedMs.length > 0 ? judgedMs.reduce((sum, ms) => sum + ms, 0) / judgedMs.length : 0;
  return (1000 * left.devices) / devicesPerSecond + left.waves * each;
}
