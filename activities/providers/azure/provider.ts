/** Azure as a provider: its cells, whose subscription it is, which rights are missing. */

import { CloudError } from '../../../model/errors.ts';
import type { Provider, ProviderSettings } from '../driver.ts';
import { outputOf } from '../object-store.ts';
import { PooledHttp } from '../pooled-http.ts';
import { containerFeed } from './change-feed.ts';
import { AzureClients } from './clients.ts';
import { computeCell } from './compute.ts';
import { dataLakeCell } from './data-lake.ts';
import { hubDevices } from './device-registry.ts';
import { azureDns } from './dns.ts';
import { classify, isKind } from './errors.ts';
import { accountFence } from './fence.ts';
import { allows } from './granted.ts';
import { iotCoreCell } from './iot-core.ts';
import { blobStore } from './object-store.ts';
import { smallObjects } from './objects.ts';
import { azureQuotas } from './quotas.ts';
import { storageCell } from './storage.ts';
import { hubTelemetry } from './telemetry.ts';
import { trafficManager } from './weights.ts';

export function azureProvider(settings: ProviderSettings): Provider {
  const clients = new AzureClients(settings);
  const http = new PooledHttp({ idleMs: settings.callDeadlineMs });
  return {
    type: 'azure',
    cells: [iotCoreCell(clients, settings), computeCell(clients), dataLakeCell(clients), storageCell(clients)],
    objects: smallObjects(clients),
    store: (placement) =>
      blobStore(clients, http, {
        account: outputOf(placement, 'account', 'name'),
        container: outputOf(placement, 'container', 'name'),
      }),
    devices: (placement, ask) => {
      const host = outputOf(placement, 'hub', 'host');
      return hubDevices(clients.devices(host), host, ask);
    },
    feed: containerFeed(clients),
    telemetry: hubTelemetry(clients, settings.callDeadlineMs),
    dns: azureDns(clients),
    weights: trafficManager(clients),
    fence: accountFence(clients),
    quotas: azureQuotas(clients),
    classify,

    /** The configured subscription if the credentials can see it, else the only one that they can see. */
    async account(signal) {
      const { subscriptions } = clients.subscriptions();
      if (settings.account) {
        const seen = await subscriptions.get(settings.account, { abortSignal: signal });
        return seen.subscriptionId ?? '';
      }
      const all: string[] = [];
      for await (const { subscriptionId, state } of subscriptions.list({ abortSignal: signal }))
        if (subscriptionId && state === 'Enabled') all.push(subscriptionId);
      const [only] = all;
      if (only && all.length === 1) return only;
      throw new CloudError(
        { kind: 'InvalidInput', provider: 'azure', operation: 'list subscriptions', resource: settings.name },
        only
          ? `the credentials see ${all.length} subscriptions: name one of them as "subscription" of the provider`
          : 'the credentials see no enabled subscription',
      );
    },

    async missingPermissions(permissions, placement, signal) {
      try {
        const held = await clients.permissions(placement.account, signal);
        return permissions.filter((permission) => !held.some((one) => allows(one, permission)));
      } catch (error) {
        // Who may not ask is told nothing; the first call that is denied then blocks the run, naming the right.
        if (isKind(error, 'PermissionDenied') || isKind(error, 'NotFound')) return [];
        throw error;
      }
    },

    async close() {
      clients.close();
      http.close();
    },
  };
}
