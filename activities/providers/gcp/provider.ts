/** Google Cloud as a provider: its cells, which project it is, which rights are missing. */

import { z } from 'zod';
import type { Provider, ProviderSettings } from '../driver.ts';
import { outputOf } from '../object-store.ts';
import { PooledHttp } from '../pooled-http.ts';
import { bucketDriver, bucketSpec } from './bucket.ts';
import { bucketFeed } from './change-feed.ts';
import { Clients } from './clients.ts';
import { computeCell } from './compute.ts';
import { dataLakeCell } from './data-lake.ts';
import { bucketDevices } from './device-registry.ts';
import { cloudDns } from './dns.ts';
import { classify } from './errors.ts';
import { bucketFence } from './fence.ts';
import { iotCoreCell } from './iot-core.ts';
import { gcsStore } from './object-store.ts';
import { smallObjects } from './objects.ts';
import { gcpQuotas } from './quotas.ts';
import { serviceAccountDriver } from './service-account.ts';
import { storageCell } from './storage.ts';
import { subscriptionDriver, subscriptionSpec } from './subscription.ts';
import { followerDriver, topicTelemetry } from './telemetry.ts';
import { topicDriver, topicSpec } from './topic.ts';
import { weightedCloudDns } from './weights.ts';

const Project = z.object({ projectId: z.string() });
const Held = z.object({ permissions: z.array(z.string()).default([]) });

/** `testIamPermissions` takes no more at a time. */
const permissionsPerCall = 100;

export function gcpProvider(settings: ProviderSettings): Provider {
  const clients = new Clients(settings);
  const http = new PooledHttp({ idleMs: settings.callDeadlineMs });
  const { project, rest, storage } = clients;
  const projectUrl = `https://cloudresourcemanager.googleapis.com/v3/projects/${project}`;
  const scope = { project, clients: clients.compute, deadlineMs: settings.callDeadlineMs };
  const serviceAccount = serviceAccountDriver(project, rest);

  return {
    type: 'gcp',
    cells: [
      storageCell(clients),
      dataLakeCell(clients),
      computeCell(scope, serviceAccount),
      iotCoreCell({
        scope,
        rest,
        storage,
        serviceAccount,
        bucket: bucketDriver(storage),
        topic: topicDriver(clients),
        subscription: subscriptionDriver(clients),
        follower: followerDriver(clients),
        bucketSpec: (placement) => bucketSpec(placement),
        topicSpec,
        subscriptionSpec,
        brokerTarball: settings.brokerTarball,
        deviceCa: settings.deviceCa,
      }),
    ],
    objects: smallObjects(clients),
    store: (placement) => gcsStore(http, clients.token, outputOf(placement, 'bucket', 'bucket')),
    devices: (placement, ask, signal) =>
      bucketDevices(gcsStore(http, clients.token, outputOf(placement, 'registry', 'bucket')), ask, signal),
    feed: bucketFeed(clients),
    telemetry: topicTelemetry(clients, http),
    dns: cloudDns(clients, settings.pollMs),
    weights: weightedCloudDns(clients, settings.pollMs),
    fence: bucketFence(clients),
    quotas: gcpQuotas(scope),
    classify,

    async account(signal) {
      return (await rest.call('GET', projectUrl, { schema: Project, signal })).projectId;
    },

    async missingPermissions(permissions, _placement, signal) {
      const missing: string[] = [];
      for (let start = 0; start < permissions.length; start += permissionsPerCall) {
        const asked = permissions.slice(start, start + permissionsPerCall);
        const body = { permissions: asked };
        const held = await rest.call('POST', `${projectUrl}:testIamPermissions`, { body, schema: Held, signal });
        missing.push(...asked.filter((permission) => !held.permissions.includes(permission)));
      }
      return missing;
    },

    async close() {
      http.close();
      await clients.close();
    },
  };
}
