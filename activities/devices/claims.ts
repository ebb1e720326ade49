/**
 * Certificates for devices whose own ones the target cannot take. A device is asked by a signed text; its request comes with its
 * telemetry, where a pump notes it; what is made for it is written down before it is registered, and travels with the redirect.
 */
import { hash } from 'node:crypto';
import { Context } from '@temporalio/activity';
import { z } from 'zod';
import {
  type AskClaimsInput,
  type AskedClaims,
  AskClaimsInput as AskInput,
  canClaim,
  claimReason,
  type IssueCertificatesInput,
  type Issued,
  type IssuedCertificates,
  IssueCertificatesInput as IssueInput,
  type NotedClaim,
  signClaim,
} from '../../model/device-claim.ts';
import { claimProperty } from '../../model/device-redirect.ts';
import { CloudError } from '../../model/errors.ts';
import { type Device, noTexts, shardDevices } from '../../model/fleet.ts';
import { providerCalls } from '../providers/calls.ts';
import { readClaims } from '../telemetry/sightings.ts';
import { allOrFirstError } from '../transfer/copy-object.ts';
import { type Files, packLines, telemetryFiles, toLines } from '../transfer/files.ts';
import { Rate } from './ask.ts';
import { batches, type DeviceDependencies, devicesFile, devicesIn, expiryOf, fleetFiles, parsed } from './files.ts';
import { issuedFile, issuedIn, linesOf, withIssued } from './issued.ts';
import type { Issuer } from './issuer.ts';
import { final, registriesOf } from './redirects.ts';

const Asking = z.object({ asked: z.number(), gone: z.number(), failed: z.number() });

export interface ClaimActivities {
  askClaims(input: AskClaimsInput): Promise<AskedClaims>;
  issueCertificates(input: IssueCertificatesInput): Promise<IssuedCertificates>;
}

export function createClaimActivities({
  key,
  issuer,
  ...dependencies
}: DeviceDependencies & { key: string; issuer: Issuer | undefined }): ClaimActivities {
  const { atEach } = providerCalls(dependencies);
  const filesAt = fleetFiles(dependencies);
  const registryOf = registriesOf(dependencies);

  return {
    askClaims(raw) {
      const { keptAt, name, to, untilAt, census, on, estate, sequence, devicesPerSecond, retract } = parsed(
        AskInput,
        raw,
      );
      let done: z.infer<typeof Asking> = { asked: 0, gone: 0, failed: 0 };
      if (!issuer) return Promise.resolve({ ...done, unable: true });
      const needs = { to, untilMs: Date.parse(untilAt), expiryOf };
      return atEach(
        { at: on.provider, kept: keptAt.provider },
        async ({ at, kept }, signal) => {
          // A repeat asks all of them again, with the same text.
          const issued = await issuedIn(await filesAt(kept, keptAt, name, signal));
          const here = await registryOf(at, on, signal);
          const pace = new Rate(devicesPerSecond);
          const counts = { asked: 0, gone: 0, failed: 0 };
          const ask = async (device: string): Promise<void> => {
            const text = signClaim({ claim: { v: 1, estate, audience: { device }, sequence }, key });
            await pace.take(signal);
            try {
              counts[
                (await here.tell(device, { ...noTexts, [claimProperty]: retract ? null : text })) ? 'asked' : 'gone'
              ]++;
            } catch (error) {
              if (!(error instanceof CloudError) || !final.includes(error.kind)) throw error;
              counts.failed++;
            }
            done = { ...counts };
          };
          const open: string[] = [];
          for await (const device of devicesIn(await filesAt(kept, keptAt, census, signal)))
            if ((retract || !issued.has(device.id)) && canClaim(device) && claimReason(device, needs))
              open.push(device.id);
          for (const some of batches(open, shardDevices)) await allOrFirstError(some.map(ask));
          return counts;
        },
        () => done,
      );
    },

    issueCertificates(raw) {
      const input = parsed(IssueInput, raw);
      const { keptAt, name, to, untilAt, censuses, before, into, from, waitUntil, everyMs } = input;
      const needs = { to, untilMs: Date.parse(untilAt), expiryOf };
      const context = Context.current();
      return atEach({ kept: keptAt.provider }, async ({ kept }, signal) => {
        const files = await filesAt(kept, keptAt, name, signal);
        const at = (of: string): Promise<Files> => filesAt(kept, keptAt, of, signal);
        const settled = new Set<string>();
        for (const one of before) for await (const { id } of devicesIn(await at(one))) settled.add(id);
        const devices = new Map<string, Device>();
        for (const one of censuses)
          for await (const device of devicesIn(await at(one)))
            if (!settled.has(device.id) && canClaim(device) && claimReason(device, needs))
              devices.set(device.id, device);
        const seenFiles = telemetryFiles(kept, keptAt, name, signal);
        for (;;) {
          const noted = await readClaims(seenFiles, from);
          const late = Date.now() >= Date.parse(waitUntil);
          if (late || [...devices.keys()].every((id) => noted.has(id))) {
            const { issued, refused } = await issue(files, [...devices.keys()], noted, input);
            const made = [...devices.values()].filter(({ id }) => issued.has(id)).map((one) => withIssued(one, issued));
            const census = await at(into);
            const shards = batches(made, shardDevices);
            for (const [shard, some] of shards.entries()) await census.write(devicesFile(shard), packLines(some));
            const named = Object.values(refused).reduce((sum, count) => sum + count, 0);
            return { devices: made.length, shards: shards.length, open: devices.size - made.length - named, refused };
          }
          await context.sleep(everyMs);
        }
      });
    },
  };

  /** Certificates of these devices, as far as there are any: made now, or earlier. What was written down first counts. */
  async function issue(
    files: Files,
    ids: readonly string[],
    noted: ReadonlyMap<string, NotedClaim>,
    { into, issuedAt }: IssueCertificatesInput,
  ): Promise<{ issued: Map<string, Issued>; refused: Record<string, number> }> {
    const issued = await issuedIn(files);
    const refused: Record<string, number> = {};
    const fresh: Issued[] = [];
    for (const id of ids) {
      const claim = noted.get(id);
      if (!claim || issued.has(id)) continue;
      const made = await issuer?.issue({ device: id, csr: Buffer.from(claim.csr, 'base64'), at: new Date(issuedAt) });
      if (made === undefined) continue;
      if (typeof made === 'string') refused[made] = (refused[made] ?? 0) + 1;
      else fresh.push({ id, thumbprint: hash('sha256', made), der: made.toString('base64') });
    }
    if (fresh.length === 0) return { issued, refused };
    try {
      await files.create(issuedFile(into), toLines(fresh));
      for (const one of fresh) issued.set(one.id, one);
    } catch (error) {
      if (!(error instanceof CloudError) || !['PreconditionFailed', 'AlreadyExists'].includes(error.kind)) throw error;
      // An attempt before this one, or beside it, was first.
      for (const one of linesOf((await files.read(issuedFile(into))) ?? new Uint8Array()))
        if (!issued.has(one.id)) issued.set(one.id, one);
    }
    return { issued, refused };
  }
}
