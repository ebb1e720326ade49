/** How a fleet moves, as the estate file and a run's input say, and what the record says of one that is on its way. */
import { z } from 'zod';
import { Duration } from './duration.ts';
import type { ProviderType } from './service.ts';

const Count = z.number().int().min(0);
const Text = z.string().min(1).max(200);
const Share = z.number().min(0).max(1);
const Errors = z.number().min(0).max(1000).describe('number from 0 to 1000');

/** A share of the fleet in percent, with what went before; or a cohort. */
export const Wave = z.union([
  z.number().gt(0).max(100),
  z.strictObject({ group: Text }),
  /** `<name>=<value>` */
  z.strictObject({
    attribute: z
      .string()
      .regex(/^[^=]+=.*$/, 'must be <name>=<value>')
      .max(1000),
  }),
  z.strictObject({ devices: z.array(Text).min(1).max(1000) }),
]);
export type Wave = z.infer<typeof Wave>;

/** What else is left goes in a last wave of its own. */
export const Waves = z.array(Wave).min(1).max(20).describe('list of at most 20 percentages or cohorts');

/** How a fleet moves; of the estate file's `migration`, and of a run's input in its place. */
export const waveSettings = {
  waves: Waves.default([1, 10, 50, 100]),
  /** A person is asked before each wave but the first, which comes with the cutover. */
  approve_waves: z.boolean().describe('true or false').default(false),
  /** Devices that are told in a second; left out: `devicesPerSecond`. */
  devices_per_second: z.number().gt(0).max(10_000).describe('number of devices, up to 10000').optional(),
  /** How long a wave has to arrive; a device that was silent for so long is asleep. */
  wave_window: Duration.default('10m'),
  /** Share of those awake that must be seen at the target. */
  wave_seen: Share.describe('number from 0 to 1').default(0.95),
  /** What they must say there, as a share of what they said before. */
  wave_rate: Share.describe('number from 0 to 1').default(0.5),
  /** Connections of a device that may go wrong besides those that did before, on average. */
  wave_errors: Errors.default(0.05),
  /** One device of each group goes there and comes back before the first wave. */
  canary: z.boolean().describe('true or false').default(true),
};
export const WaveSettings = z.strictObject(waveSettings);
export type WaveSettings = z.infer<typeof WaveSettings>;

/** The same of a run's input: what it says counts, the rest is the estate file's. */
export const waveInput = {
  waves: Waves.optional(),
  approve_waves: z.boolean().optional(),
  devices_per_second: waveSettings.devices_per_second,
  wave_window: Duration.optional(),
  wave_seen: Share.optional(),
  wave_rate: Share.optional(),
  wave_errors: Errors.optional(),
  canary: z.boolean().optional(),
};

export const waveText = (wave: Wave | 'rest'): string => {
  if (wave === 'rest') return 'all that is left';
  if (typeof wave === 'number') return `${wave} %`;
  if ('group' in wave) return `group ${wave.group}`;
  if ('attribute' in wave) return wave.attribute;
  return `${wave.devices.length} named devices`;
};

/**
 * Devices that may connect to a cloud in a second by default: half of what it takes, since others connect as well. AWS: 500 connects
 * an account (https://docs.aws.amazon.com/general/latest/gr/iot-core.html). Azure: 100 of the smallest hub
 * (https://learn.microsoft.com/azure/iot-hub/iot-hub-devguide-quotas-throttling). GCP: our broker, two processors of one node.
 * 2026-11-28; from memory.
 */
export const devicesPerSecond: Record<ProviderType, number> = { aws: 250, azure: 50, gcp: 50 };

/** What the record of a migration says besides, where a fleet moves: an undo by another run finds what was done by it. */
export const MovingFleet = z.strictObject({
  /** Names the files, and stands on each device that was registered. */
  name: z.string().regex(/^[A-Za-z0-9_-]{1,64}$/),
  startedAt: z.iso.datetime(),
  /** Files of devices that were registered, of each census: `<name>-new-<n>`. */
  registered: z.array(Count),
  /** Files of devices that were told to go, of each wave. */
  told: z.array(Count),
  /** Of the last redirect. */
  sequence: Count,
  /** Last epoch of the pumps. */
  epoch: Count,
});
export type MovingFleet = z.infer<typeof MovingFleet>;
