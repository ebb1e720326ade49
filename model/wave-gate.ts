/** Whether a wave has arrived, from what the streams of both clouds have shown of its devices. Pure. */
import type { Sightings } from './telemetry-pump.ts';
import type { JudgedWave, JudgeWaveInput } from './waves.ts';

type Rules = Pick<JudgeWaveInput, 'what' | 'toldAt' | 'windowMs'> & { seen: number; rate: number; now: number };

export interface Verdict extends Pick<JudgedWave, 'passed' | 'awake' | 'arrived' | 'rateBefore' | 'rateAfter'> {
  missing: string[];
  /** What was seen of the target when enough had arrived: from there on it is measured what they say. */
  measuredFrom: Sightings | undefined;
}

/** Fewer messages than these tell nothing of a rate. */
const fewest = 10;
/** What they say is measured for a quarter of the window, and no longer than this. */
const longestMeasureMs = 60_000;

/** `from`: where they come from; `to`: where they go. */
export function judgeArrival(
  devices: readonly string[],
  { from, to }: { from: Sightings | undefined; to: Sightings | undefined },
  measuredFrom: Sightings | undefined,
  { what, toldAt, windowMs, seen, rate, now }: Rules,
): Verdict {
  const measureMs = Math.min(windowMs / 4, longestMeasureMs);
  const [told, since] = [Date.parse(toldAt), new Date(Date.parse(toldAt) - windowMs).toISOString()];
  const at = (sightings: Sightings | undefined, device: string): string => sightings?.devices.get(device)?.at ?? '';
  if (what === 'left') {
    // Who was never here has nothing to leave.
    const here = devices.filter((device) => at(from, device) !== '');
    const missing = here.filter((device) => at(from, device) >= at(to, device));
    const arrived = here.length - missing.length;
    // Who was on the way here when it was told may have been seen by nobody yet.
    const passed = missing.length === 0 && now >= told + measureMs;
    return { passed, awake: here.length, arrived, rateBefore: 0, rateAfter: 0, missing, measuredFrom: undefined };
  }
  const isThere = (device: string): boolean => at(to, device) >= toldAt && at(to, device) > at(from, device);
  const there = devices.filter(isThere);
  const awake = devices.filter((device) => isThere(device) || at(from, device) >= since);
  const missing = devices.filter((device) => !isThere(device));
  const enough = there.length >= Math.ceil(awake.length * seen);
  const counts = { awake: awake.length, arrived: there.length, missing };
  if (devices.length === 0) return { ...counts, rateBefore: 0, rateAfter: 0, passed: true, measuredFrom };

  const messagesOf = (sightings: Sightings | undefined): number =>
    there.reduce((sum, device) => sum + (sightings?.devices.get(device)?.messages ?? 0), 0);
  // Until they were told; what they have said there since then is little.
  const msBefore = from ? told - Date.parse(from.head.since) : 0;
  const minutesBefore = msBefore >= measureMs ? msBefore / 60_000 : 0;
  const rateBefore = perDevice(messagesOf(from), minutesBefore, there.length);
  if (!enough || !to || !measuredFrom)
    return {
      ...counts,
      rateBefore,
      rateAfter: 0,
      passed: false,
      measuredFrom: enough ? (measuredFrom ?? to) : undefined,
    };
  const ms = Date.parse(to.head.until) - Date.parse(measuredFrom.head.until);
  const rateAfter = perDevice(messagesOf(to) - messagesOf(measuredFrom), ms / 60_000, there.length);
  const measured = ms >= (rate === 0 ? 0 : measureMs);
  const expected = rateBefore * rate * there.length * (ms / 60_000);
  // One in which nobody is awake proves nothing.
  const passed = there.length > 0 && measured && (expected < fewest || rateAfter >= rateBefore * rate);
  return { ...counts, rateBefore, rateAfter, passed, measuredFrom };
}

const perDevice = (messages: number, minutes: number, devices: number): number =>
  minutes > 0 && devices > 0 ? messages / minutes / devices : 0;
