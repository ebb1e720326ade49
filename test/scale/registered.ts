/** What a registry holds, read by its driver alone: without the files, the rates and the judgements of the activities. */
import { ClientSecretCredential } from '@azure/identity';
import iothub from 'azure-iothub';
import type { ProviderPool } from '../../activities/providers/pool.ts';
import { azureApplication } from '../../emulators/environment.ts';
import type { Device } from '../../model/fleet.ts';
import type { PlacementRef } from '../../model/transfer.ts';

const { signal } = new AbortController();

export const registryAt = async (pool: ProviderPool, placement: PlacementRef) =>
  (await pool.get(placement.provider)).devices(placement, (_operation, _resource, request) => request(), signal);

export async function* registeredAt(pool: ProviderPool, placement: PlacementRef): AsyncGenerator<Device> {
  const registry = await registryAt(pool, placement);
  for (let token: string | undefined; ; ) {
    const { devices, next } = await registry.page(token);
    yield* devices;
    if (next === undefined) return;
    token = next;
  }
}

/** Of the first certificate of each device, by its ID. */
export async function thumbprintsAt(pool: ProviderPool, placement: PlacementRef): Promise<Record<string, string>> {
  const found: Record<string, string> = {};
  for await (const { id, credential } of registeredAt(pool, placement))
    if (credential.type === 'certificates') found[id] = credential.certificates[0]?.thumbprint ?? '';
  return found;
}

/** Takes all of them away, as somebody without us would. */
export async function empty(pool: ProviderPool, placement: PlacementRef): Promise<void> {
  const registry = await registryAt(pool, placement);
  const all: Device[] = [];
  for await (const device of registeredAt(pool, placement)) all.push(device);
  const host = placement.resources.find(({ key }) => key === 'hub')?.outputs.host ?? '';
  const { tenant, client, secret } = azureApplication;
  const hub = iothub.Registry.fromTokenCredential(host, new ClientSecretCredential(tenant, client, secret));
  for (let at = 0; at < all.length; at += 100) {
    const some = all.slice(at, at + 100);
    if (placement.providerType === 'azure')
      await hub.removeDevices(
        some.map(({ id: deviceId }) => ({ deviceId })),
        true,
      );
    // Those that no copy has made bear the empty mark.
    else await Promise.all(some.map((one) => registry.remove([one], one.copiedBy ?? '')));
  }
}
