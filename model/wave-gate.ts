/** Whether a wave has arrived, from what the streams of both clouds have shown of its devices. Pure. */
import type { Sightings } from './telemetry-pump.ts';
import type { JudgedWave, JudgeWaveInput } from './waves.ts';

type Rules = Pick<JudgeWaveInput, 'what' | 'toldAt' | 'windowMs' | 'errors'> & {
  seen: number;
  rate: number;
  now: number;
};

export interface Verdict extends Omit<JudgedWave, 'devices' | 'missing' | 'first'> {
  missing: string[];
  /** What was seen of the target when enough had arrived: from there on it is measured what they say. */
  measuredFrom: Sightings | undefined;
}

/** Fewer messages than these tell nothing of a rate, and no more connections that went wrong than these nothing of a cloud. */
const [fewest, mostByChance] = [10, 2];
/** What they say is measured for a quarter of the window, and no longer than this. */
const longestMeasureMs = 60_000;

/** `from`: where they come from; `to`: where they go. */
export function judgeArrival(
  devices: readonly string[],
  { from, to }: { from: Sightings | undefined; to: Sightings | undefined },
  measuredFrom: Sightings | undefined,
  { what, toldAt, windowMs, seen, rate, errors: mostErrors, now }: Rules,
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
  const { errors, errorsBefore } = errorsOf(devices, { from, to }, { told, windowMs });
  const failed = mostErrors !== undefined && errors > errorsBefore + Math.max(mostByChance, mostErrors * awake.length);
  const counts = { awake: awake.length, arrived: there.length, missing, errors, errorsBefore, failed };
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
  const passed = !failed && there.length > 0 && measured && (expected < fewest || rateAfter >= rateBefore * rate);
  return { ...counts, rateBefore, rateAfter, passed, measuredFrom };
}

/** Since they were told; and in the window before. */
function errorsOf(
  devices: readonly string[],
  at: { from: Sightings | undefined; to: Sightings | undefined },
  { told, windowMs }: { told: number; windowMs: number },
): { errors: number; errorsBefore: number } {
  const all = devices.flatMap((device) =>
    [at.from, at.to].flatMap((sightings) => sightings?.devices.get(device)?.troubles ?? []),
  );
  return {
    errors: all.filter((ms) => ms >= told).length,
    errorsBefore: all.filter((ms) => ms < told && ms >= told - windowMs).length,
  };
}

const perDevice = (messages: number, minutes: number, devices: number): number =>
  minutes > 0 && devices > 0 ? messages / minutes / devices : 0;
