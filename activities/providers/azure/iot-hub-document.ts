/** How the drivers of an IoT hub and of its parts read and change the hub's one document. */
import type { IotHubClient, IotHubDescription, IotHubProperties } from '@azure/arm-iothub';
import type { Call, Observed } from '../driver.ts';
import type { AzureClients } from './clients.ts';
import { found } from './errors.ts';
import { resourceGroupName } from './resource-group.ts';

/** The built-in endpoint, by its name in ARM and in routes. */
export const builtIn = 'events';

export class IotHubs {
  readonly #clients: AzureClients;

  constructor(clients: AzureClients) {
    this.#clients = clients;
  }

  client(call: Pick<Call, 'placement'>): IotHubClient {
    return this.#clients.iotHub(call.placement.account);
  }

  group(call: Call): string {
    return resourceGroupName(call.placement);
  }

  /** The hub that a name of its own or of one of its parts (`<hub>/<part>`) begins with. */
  read(name: string, call: Call): Promise<IotHubDescription | undefined> {
    const [hub = ''] = name.split('/');
    return found(() => this.client(call).iotHubResource.get(this.group(call), hub, { abortSignal: call.signal }));
  }

  /** A PUT replaces the whole hub, so what is there is taken over, under the etag that was read. */
  async change(
    name: string,
    call: Call,
    edit: (hub: IotHubDescription, properties: IotHubProperties) => IotHubDescription,
  ): Promise<void> {
    const hub = await this.read(name, call);
    if (!hub) return;
    const body = edit(hub, hub.properties ?? {});
    await this.client(call).iotHubResource.beginCreateOrUpdate(this.group(call), name.split('/')[0] ?? '', body, {
      ...(hub.etag === undefined ? {} : { ifMatch: hub.etag }),
      abortSignal: call.signal,
    });
  }
}

/**
 * Only a hub that never came to be counts as failed, since what failed is deleted and made again: one that has a host name
 * holds devices, whatever became of its last update; drift leads to the next attempt.
 */
export function hubState({ provisioningState, state, hostName }: IotHubProperties): Observed['state'] {
  if (state === 'Deleting' || provisioningState === 'Deleting') return 'deleting';
  if (provisioningState === 'Failed') return hostName ? 'ready' : 'failed';
  return provisioningState === 'Succeeded' && state === 'Active' ? 'ready' : 'creating';
}
