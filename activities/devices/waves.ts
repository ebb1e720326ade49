/** Who goes in a wave, and whether they have arrived: from two censuses, and from what telemetry streams show of devices. */
import { hash } from 'node:crypto';
import { Context } from '@temporalio/activity';
import type { z } from 'zod';
import { canariesOf } from '../../model/canary.ts';
import { inabilityOf } from '../../model/device-abilities.ts';
import { canClaim, claimReason } from '../../model/device-claim.ts';
import type { Device } from '../../model/fleet.ts';
import { shardDevices } from '../../model/fleet.ts';
import { judgeDevice } from '../../model/fleet-mapping.ts';
import type { ProviderType } from '../../model/service.ts';
import type { Sightings } from '../../model/telemetry-pump.ts';
import { judgeArrival } from '../../model/wave-gate.ts';
import type { Wave } from '../../model/wave-settings.ts';
import {
  type JudgedWave,
  JudgeWaveInput,
  type PlannedWave,
  PlanWaveInput,
  SelectDevicesInput,
  type SelectedDevices,
  type WaveActivities,
} from '../../model/waves.ts';
import { providerCalls } from '../providers/calls.ts';
import { readSightings } from '../telemetry/sightings.ts';
import { LineFiles, packLines, telemetryFiles } from '../transfer/files.ts';
import {
  type DeviceDependencies,
  devicesFile,
  devicesIn,
  digestsOf,
  expiryOf,
  fieldsBetween,
  fleetFiles,
  parsed,
} from './files.ts';
import { issuedIn, withIssued } from './issued.ts';
import { idsIn, nameDevices, waveFiles } from './wave-files.ts';

/** What its cloud may change at any time, so that the copy does not have to be the same. */
const volatile = 'reported';
/** Names in an answer. */
const mostNamed = 5;

export function createWaveActivities(dependencies: DeviceDependencies): WaveActivities {
  const { atEach } = providerCalls(dependencies);
  const filesAt = fleetFiles(dependencies);

  return {
    selectDevices(raw) {
      const { keptAt, census, before, into, born, claims } = parsed(SelectDevicesInput, raw);
      return atEach({ kept: keptAt.provider }, async ({ kept }, signal) => {
        const known = new Set<string>();
        if (before !== null)
          for await (const { id } of devicesIn(await filesAt(kept, keptAt, before, signal))) known.add(id);
        const files = await filesAt(kept, keptAt, into, signal);
        const answer: SelectedDevices = { devices: 0, shards: 0, ...(claims && { claims: 0 }) };
        const needs = claims && { to: claims.to, untilMs: Date.parse(claims.untilAt), expiryOf };
        let some: Device[] = [];
        const flush = async (): Promise<void> => {
          if (some.length > 0) await files.write(devicesFile(answer.shards++), packLines(some));
          some = [];
        };
        for await (const device of devicesIn(await filesAt(kept, keptAt, census, signal))) {
          if (known.has(device.id) || (born && device.copiedBy !== '')) continue;
          answer.devices++;
          if (needs && canClaim(device) && claimReason(device, needs)) answer.claims = (answer.claims ?? 0) + 1;
          some.push(device);
          if (some.length === shardDevices) await flush();
        }
        await flush();
        return answer;
      });
    },

    planWave(raw): Promise<PlannedWave> {
      const { keptAt, name, wave, first, who, source, target, to, able: needs } = parsed(PlanWaveInput, raw);
      const context = Context.current();
      return atEach({ kept: keptAt.provider }, async ({ kept }, signal) => {
        const at = (of: string) => filesAt(kept, keptAt, of, signal);
        const there = new Map<string, string>();
        for await (const device of devicesIn(await at(target))) there.set(device.id, digestsOf(device));
        const files = await at(name);
        const issued = await issuedIn(files);
        const cannot: PlannedWave['cannot'] = {};
        const staying = new LineFiles(files, `cannot-${wave}-`);
        const able: Device[] = [];
        for await (const found of devicesIn(await at(source))) {
          const device = withIssued(found, issued);
          const why = whyNot(device, there.get(device.id), to, needs);
          if (why === undefined) able.push(device);
          else {
            cannot[why] = (cannot[why] ?? 0) + 1;
            await staying.add({ id: device.id, why });
          }
        }
        await staying.flush();
        const told = new Set<string>();
        for (let earlier = first; earlier < wave; earlier++)
          for (const id of await idsIn(files, waveFiles(files, earlier).folder)) told.add(id);
        const plan = async (chosen: readonly string[]): Promise<PlannedWave> => {
          const shards = await waveFiles(files, wave).write(chosen);
          return { devices: chosen.length, shards, able: able.length, cannot, cannotFiles: staying.key };
        };
        if (typeof who !== 'object' || !('canary' in who)) return plan(choose(able, told, who, name));
        const { sightings, from, windowMs, untilAt, everyMs } = who.canary;
        const seenFiles = telemetryFiles(kept, keptAt, sightings, signal);
        for (;;) {
          const seen = (await readSightings(seenFiles)).get(from);
          const since = new Date(Date.now() - windowMs).toISOString();
          const { chosen, silent } = canariesOf(able, (id) => (seen?.devices.get(id)?.at ?? '') >= since);
          if (silent.length === 0 || Date.now() >= Date.parse(untilAt))
            return { ...(await plan(chosen)), silent: silent.slice(0, mostNamed) };
          await context.sleep(everyMs);
        }
      });
    },

    judgeWave(raw): Promise<JudgedWave> {
      const input = parsed(JudgeWaveInput, raw);
      const { keptAt, name, waves, without, sightings, from, to, untilAt, everyMs, report } = input;
      const context = Context.current();
      return atEach({ kept: keptAt.provider }, async ({ kept }, signal) => {
        const files = await filesAt(kept, keptAt, name, signal);
        const left = new Set((await Promise.all(without.map((prefix) => idsIn(files, prefix)))).flat());
        const ids: string[] = [];
        for (const { wave, shards } of waves)
          for (let shard = 0; shard < shards; shard++) ids.push(...(await waveFiles(files, wave).of(shard)));
        const devices = ids.filter((id) => !left.has(id));
        const seenFiles = telemetryFiles(kept, keptAt, sightings, signal);
        for (let first: Sightings | undefined; ; ) {
          const seen = await readSightings(seenFiles);
          const at = { from: seen.get(from), to: seen.get(to) };
          const verdict = judgeArrival(devices, at, first, { ...input, now: Date.now() });
          first = verdict.measuredFrom;
          const { missing, measuredFrom: _, ...counts } = verdict;
          if (counts.passed || counts.failed || Date.now() >= Date.parse(untilAt)) {
            const named = await nameDevices(files, `${report}-`, missing);
            return { ...counts, devices: devices.length, missing: named, first: missing.slice(0, mostNamed) };
          }
          await context.sleep(everyMs);
        }
      });
    },
  };
}

/** Why a device cannot go, or undefined. */
function whyNot(
  device: Device,
  there: string | undefined,
  to: ProviderType,
  needs: z.output<typeof PlanWaveInput>['able'],
): string | undefined {
  const { refusal } = judgeDevice(device, to);
  if (refusal) return refusal;
  if (device.status === 'disabled') return 'disabled';
  if (there === undefined) return 'not registered';
  const differs = fieldsBetween(digestsOf(device), there).filter((field) => field !== volatile);
  if (differs.length > 0) return `differs: ${differs.join(' ')}`;
  return needs && inabilityOf(device, needs.endpoint, { untilMs: Date.parse(needs.untilAt), expiryOf });
}

/** Of those that can go and were not told: a share in an order that nobody chooses, or a cohort. */
function choose(able: readonly Device[], told: ReadonlySet<string>, who: Wave | 'rest', salt: string): string[] {
  const open = able.filter(({ id }) => !told.has(id));
  if (who === 'rest') return open.map(({ id }) => id);
  if (typeof who === 'number') {
    const wanted = Math.ceil((able.length * who) / 100) - (able.length - open.length);
    const order = open.map(({ id }) => ({ id, key: hash('sha256', `${salt}/${id}`) }));
    order.sort((a, b) => (a.key < b.key ? -1 : 1));
    return order.slice(0, Math.max(0, wanted)).map(({ id }) => id);
  }
  if ('group' in who) return open.filter(({ groups }) => groups.includes(who.group)).map(({ id }) => id);
  if ('devices' in who) return open.filter(({ id }) => who.devices.includes(id)).map(({ id }) => id);
  const [name = '', value = ''] = who.attribute.split(/=(.*)/s);
  return open.filter(({ attributes }) => attributes[name] === value).map(({ id }) => id);
}
