/** What a run tells of a fleet. Pure. */
import { type Inability, inabilityText } from '../model/device-abilities.ts';
import type { Census, DiffedDevices, FleetField } from '../model/fleet.ts';
import type { Pace } from '../model/fleet-forecast.ts';
import { gapsBetween } from '../model/fleet-mapping.ts';
import { justInTimeAuthority } from '../model/just-in-time.ts';
import type { EstatePlan } from '../model/operations.ts';
import type { RecordedPlacement } from '../model/record.ts';
import type { ProviderType } from '../model/service.ts';
import { type Wave, waveText } from '../model/wave-settings.ts';
import type { JudgedWave, PlannedWave, SentRedirects } from '../model/waves.ts';
import type { FleetMove, Move } from './migration-plan.ts';
import { hours, waitingCost } from './migration-text.ts';

const counted = (counts: Readonly<Record<string, number>>): string =>
  Object.entries(counts)
    .map(([what, count]) => `${count} × ${what}`)
    .join(', ');

export function censusText({ devices, refused, unable = {}, claims = {}, refusedFiles }: Census): string {
  const cannot = counted({ ...refused, ...unable });
  const mended = counted(claims);
  return `${devices} devices${cannot ? `; cannot go: ${cannot} (${refusedFiles})` : ''}${mended && `; of these a new certificate mends: ${mended}`}`;
}

export const claimedText = (
  asked: number,
  devices: number,
  open: number,
  refused: Readonly<Record<string, number>>,
): string =>
  `${asked} were asked for a certificate request, ${devices} have a new certificate, ${open} have not answered yet` +
  (Object.keys(refused).length > 0 ? `; refused: ${counted(refused)}` : '');

/** By the clock of the run. */
export const aboutText = (leftMs: number): string => `done about ${new Date(Date.now() + leftMs).toISOString()}`;
export const paceText = (done: number, devices: number, { perSecond, leftMs }: Pace): string =>
  `${done} of ${devices} devices, ${perSecond.toFixed(perSecond < 10 ? 1 : 0)} a second, ${aboutText(leftMs)}`;

export const stayText = (cannot: Readonly<Record<string, number>>): string =>
  `devices that no wave takes: ${counted(cannot)}`;

export const differences = ({ different }: Pick<DiffedDevices, 'different'>): string => counted(different);

/** Devices change it at any time, so that a copy of a moment ago may differ in it. */
export const volatileField = 'reported' satisfies FleetField;

/** Before anything exists: who cannot go, and what does not go along. */
export function fleetWarnings(
  { devices, refused, unable = {}, claims = {}, refusedFiles, partly }: Census,
  from: ProviderType,
  to: ProviderType,
): string[] {
  const gaps = gapsBetween(from, to);
  const textOf = (name: string): string => gaps.find((gap) => gap.name === name)?.text ?? name;
  /** But for those that another certificate mends. */
  const others = (counts: Readonly<Record<string, number>>): [string, number][] =>
    Object.entries(counts)
      .map(([why, count]): [string, number] => [why, count - (claims[why] ?? 0)])
      .filter(([, count]) => count > 0);
  return [
    ...Object.entries(claims).map(
      ([why, count]) =>
        `${count} of ${devices} devices need a new certificate (${why}) and are asked to claim one before the first wave, which takes a sender with an authority (claimAuthority); those that do not stay; they are named in ${refusedFiles}`,
    ),
    ...others(refused).map(
      ([why, count]) =>
        `${count} of ${devices} devices cannot go (${why}): ${textOf(why)}; they are named in ${refusedFiles}`,
    ),
    ...others(unable).map(
      ([why, count]) =>
        `${count} of ${devices} devices are registered there and not told to go (${why}): ${inabilityText[why as Inability]}; they are named in ${refusedFiles}`,
    ),
    ...Object.entries(partly).map(
      ([what, count]) => `${count} of ${devices} devices go without ${what}: ${textOf(what)}`,
    ),
    ...gaps
      .filter(({ becomes }) => becomes === 'changed')
      .map(({ name, text }) => `arrives in another form (${name}): ${text}`),
    'nothing leaves a cloud but what devices say: what is forwarded between the two while they move is not in the estimate',
  ];
}

export function fleetCutoverText(
  { service, source, fleet, soakMs }: Pick<Move, 'service' | 'source' | 'soakMs'> & { fleet?: FleetMove | undefined },
  target: RecordedPlacement,
  _plan: EstatePlan,
  { moved, there, refused }: { moved: number; there: number; refused: number },
): string {
  const waves = fleet?.waves.map(waveText).join(', ') ?? '';
  return (
    `Move the fleet of ${service} from ${source.provider} to ${target.provider}? ` +
    `${moved + there} devices are registered there; ${refused} cannot go and stay. ` +
    `Each day of waiting costs $${waitingCost([source, target]).toFixed(2)} for both. ` +
    `On approve devices are told to go in waves (${waves}), each judged after ${hours(fleet?.windowMs ?? 0)} at the most; one that does not arrive goes back, and is asked about. ` +
    newDoor(target) +
    `Then ${service} is on ${target.provider}; for ${hours(soakMs)} all can go back. On reject everything is taken back.`
  );
}

export const waveQuestion = (service: string, at: number, who: Wave | 'rest'): string =>
  `Wave ${at} of ${service} has arrived. Tell the next ones to go: ${waveText(who)}? On reject all devices come home, and everything is taken back.`;

export const wavingText = (
  { devices }: PlannedWave,
  devicesPerSecond: number,
  wavesLeft: number,
  leftMs: number,
): string =>
  `${devices} devices are told, ${devicesPerSecond} a second; ${wavesLeft > 1 ? `all ${wavesLeft} waves that are left ` : ''}${aboutText(leftMs)}`;

/** Where those connect for the first time whom nobody has registered; '' where nobody is let in so. */
function newDoor({
  provider,
  endpoint,
  configuration,
}: Pick<RecordedPlacement, 'provider' | 'endpoint' | 'configuration'>): string {
  if (justInTimeAuthority(configuration) === undefined) return '';
  return `Newborns: the factory's new door is ${endpoint} on ${provider}, open from now on; the old door stays until the source is removed. `;
}

export const strandedText = (count: number, home: string, provider: string): string =>
  `${count} devices came in at ${provider} by themselves and cannot be registered at ${home}: they need ${provider} until somebody moves them; the outcomes of the step register name them`;

const perMinute = (rate: number): string => rate.toFixed(1);

/** Nothing where runs are older than this. */
const errorsText = ({ errors, errorsBefore }: JudgedWave): string =>
  errors === undefined ? '' : `; ${errors} connections went wrong, ${errorsBefore} before`;

export const wavedText = (
  { devices }: PlannedWave,
  { told, gone, failed }: SentRedirects,
  judged: JudgedWave,
): string =>
  `${judged.arrived} of ${judged.awake} that were awake have arrived, of ${devices} devices (${told} told, ${gone} gone, ${failed} could not be told); ` +
  `${perMinute(judged.rateAfter)} messages a device and minute, ${perMinute(judged.rateBefore)} before${errorsText(judged)}`;

const named = ({ missing, first }: JudgedWave): string =>
  missing ? `: ${first.join(', ')}${first.length < 5 ? '' : ', …'}; all stand in the records bucket: ${missing}*` : '';

export const waveFailedText = (wave: number, judged: JudgedWave, back: JudgedWave): string =>
  `Wave ${wave + 1} did not arrive as it has to and went back: ${judged.arrived} of ${judged.awake} that were awake were seen there, ` +
  `${perMinute(judged.rateAfter)} messages a device and minute, ${perMinute(judged.rateBefore)} before${errorsText(judged)}. ` +
  `${judged.devices - judged.arrived} were not seen${named(judged)}. ` +
  `${back.passed ? 'Those that had arrived are back.' : `Not back yet: ${back.awake - back.arrived}${named(back)}.`} ` +
  'retry tells the wave to go again, skip tells those that had arrived and leaves the others where they are, undo brings all home and takes everything back.';

export const canaryText = ({ devices, silent = [] }: PlannedWave, there: JudgedWave, back: JudgedWave): string =>
  `${there.arrived} of ${devices} were seen there, ${back.awake - back.arrived} are not back` +
  (silent.length > 0 ? `; nobody is awake of ${silent.join(', ')}` : '');

export const canaryFailedText = (there: JudgedWave, back: JudgedWave): string =>
  `Before the first wave one device of each group went there and back: ${there.devices - there.arrived} were not seen there${named(there)}; ` +
  `${back.awake - back.arrived} are not back yet${named(back)}. All others are where they were. ` +
  'retry lets the same devices try again, skip goes on with the first wave, undo takes everything back.';

export const notHomeText = (provider: string, back: JudgedWave): string =>
  `${back.awake - back.arrived} devices were last seen on ${provider}, and need it until they are home${named(back)}`;
