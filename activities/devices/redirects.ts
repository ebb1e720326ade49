/**
 * Telling devices where to go. The key that signs it is a file of the worker that plays this role alone, read once at its start; a
 * cloud only carries the text. The cloud that they go to forgets what it told them before, first: they would find it there and report
 * it as a replay.
 */
import { Context } from '@temporalio/activity';
import { z } from 'zod';
import { redirectProperty, signRedirect } from '../../model/device-redirect.ts';
import { CloudError, type CloudErrorKind } from '../../model/errors.ts';
import { noTexts, registryCallsPerSecond } from '../../model/fleet.ts';
import type { PlacementRef } from '../../model/transfer.ts';
import { type SenderActivities, SendRedirectsInput, type SentRedirects } from '../../model/waves.ts';
import { ofPlacement, providerCalls } from '../providers/calls.ts';
import type { DeviceRegistry } from '../providers/device-registry.ts';
import type { Provider } from '../providers/driver.ts';
import { allOrFirstError } from '../transfer/copy-object.ts';
import { asker, Rate } from './ask.ts';
import { type DeviceDependencies, fleetFiles, parsed } from './files.ts';
import { issuedIn } from './issued.ts';
import { idsIn, waveFiles } from './wave-files.ts';

/** What another call would not change. */
export const final: readonly CloudErrorKind[] = ['InvalidInput', 'NotSupported'];

const Sending = z.object({ shard: z.number(), told: z.number(), gone: z.number(), failed: z.number() });

export function registriesOf(dependencies: DeviceDependencies) {
  const { callDeadlineMs } = dependencies;
  const { requireAccount } = providerCalls(dependencies);
  return async (provider: Provider, placement: PlacementRef, signal: AbortSignal): Promise<DeviceRegistry> => {
    await requireAccount(provider, ofPlacement(placement), signal);
    const callsPerSecond = registryCallsPerSecond[placement.providerType];
    const { ask } = asker(provider, { rate: new Rate(callsPerSecond), deadlineMs: callDeadlineMs, signal });
    return provider.devices(placement, ask, signal);
  };
}

/** `key`: the private one, 32 bytes in base64. */
export function createRedirectActivities({
  key,
  ...dependencies
}: DeviceDependencies & { key: string }): Pick<SenderActivities, 'sendRedirects'> {
  const { atEach } = providerCalls(dependencies);
  const filesAt = fleetFiles(dependencies);
  const registryOf = registriesOf(dependencies);

  return {
    sendRedirects(raw): Promise<SentRedirects> {
      const input = parsed(SendRedirectsInput, raw);
      const { on, to, keptAt, name, wave, shards, without, estate, endpoint, sequence, devicesPerSecond } = input;
      // A shard that an earlier attempt has begun is told again, the same text.
      let done = Sending.safeParse(Context.current().info.heartbeatDetails).data ?? {
        shard: 0,
        told: 0,
        gone: 0,
        failed: 0,
      };
      return atEach(
        { at: on.provider, target: to.provider, kept: keptAt.provider },
        async ({ at, target, kept }, signal) => {
          const files = await filesAt(kept, keptAt, name, signal);
          const [here, there] = [await registryOf(at, on, signal), await registryOf(target, to, signal)];
          const left = new Set((await Promise.all(without.map((prefix) => idsIn(files, prefix)))).flat());
          const issued = await issuedIn(input.certificates ? files : undefined);
          const pace = new Rate(devicesPerSecond);
          const { of } = waveFiles(files, wave);
          for (let { shard } = done; shard < shards; shard++) {
            const counts = { ...done, shard: shard + 1 };
            const tell = async (device: string): Promise<void> => {
              const certificate = issued.get(device)?.der;
              const audience = { device };
              const redirect = {
                v: 1 as const,
                estate,
                audience,
                sequence,
                endpoint,
                ...(certificate && { certificate }),
              };
              const text = signRedirect({ redirect, key });
              try {
                await there.tell(device, noTexts);
                // Not before: those that waited for it would be told at once.
                await pace.take(signal);
                counts[(await here.tell(device, { ...noTexts, [redirectProperty]: text })) ? 'told' : 'gone']++;
              } catch (error) {
                if (!(error instanceof CloudError) || !final.includes(error.kind)) throw error;
                counts.failed++;
              }
            };
            await allOrFirstError((await of(shard)).filter((device) => !left.has(device)).map(tell));
            done = counts;
          }
          const { shard: _, ...sent } = done;
          return sent;
        },
        () => done,
      );
    },
  };
}
