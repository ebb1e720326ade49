/** The local Azure: Entra, Resource Manager, Blob Storage on Azurite, IoT Hub and Event Hubs. See README.md for what is real. */
import '../clock.ts';

import type { Server } from 'node:http';
import { join } from 'node:path';
import { serveDns } from '../dns-server.ts';
import { azureApplication, azureVisitor, sampleZone } from '../environment.ts';
import { announce, dnsPort, settingsFromEnvironment } from '../local-cloud.ts';
import { ArmApi } from './arm/api.ts';
import { computeKinds } from './arm/compute.ts';
import { ArmCore } from './arm/core.ts';
import { azureZones, dnsKinds, ensureZone } from './arm/dns.ts';
import { insightsKinds } from './arm/insights.ts';
import type { ArmReader } from './arm/kind.ts';
import { networkKinds } from './arm/network.ts';
import { customRoles, everything, type RolePermissions, roleDefinitionKind } from './arm/role-definitions.ts';
import { armServer } from './arm/server.ts';
import { storageKinds } from './arm/storage.ts';
import { ArmStore } from './arm/store.ts';
import { trafficManagerKinds } from './arm/traffic-manager.ts';
import { Usages } from './arm/usages.ts';
import { Azurite } from './blob/azurite.ts';
import { blobFront } from './blob/front.ts';
import { dataActionNotes } from './data-actions.ts';
import { Entra } from './entra.ts';
import { eventGridKinds } from './event-grid/arm-kinds.ts';
import { EventGrid } from './event-grid/events.ts';
import { eventHubKinds } from './event-hubs/arm-kinds.ts';
import { iotHubKinds, roleAssignmentKind } from './iot-hub/arm-kinds.ts';
import { allowed, held } from './iot-hub/role-assignments.ts';
import { type IotServices, startIotServices } from './iot-hub/start.ts';
import { queueFront } from './queue/front.ts';
import { Queues } from './queue/messages.ts';

const settings = settingsFromEnvironment();
const { tenant, object } = azureApplication;
const ports = {
  arm: settings.port,
  entra: settings.port + 1,
  blob: settings.port + 2,
  azurite: settings.port + 3,
  queue: settings.port + 4,
  iot: settings.port + 5,
};

const entra = new Entra(settings.state, tenant, [azureApplication, azureVisitor]);
const store = new ArmStore(join(settings.state, 'arm'));
const arm: ArmReader = {
  get: (id) => visible(store.get(id)),
  *list(type) {
    for (const stored of store.list(type)) if (visible(stored)) yield stored;
  },
  allows: (principal, action, resource) => {
    const custom = customRoles(store.list(roleDefinitionKind.type));
    return allowed(assignments(), principal, action, resource, (role) => custom.get(role)?.flatMap(everything) ?? []);
  },
};
const note = dataActionNotes(settings.state);
/** For the data planes that the gateway cannot look into. */
const noting: ArmReader = {
  ...arm,
  allows(principal, action, resource) {
    const isAllowed = arm.allows(principal, action, resource);
    if (isAllowed && action.startsWith('Microsoft.EventHub/')) note(principal, action);
    return isAllowed;
  },
};
const assignments = () => [...store.list(roleAssignmentKind.type)].map(({ properties }) => held(properties));
/** What roles let a principal do in the subscription. Data actions need a role of their own, the owner's as well. */
const granted = (principal: string): RolePermissions[] => {
  if (principal === object) return [{ actions: ['*'], notActions: [], dataActions: [], notDataActions: [] }];
  const custom = customRoles(store.list(roleDefinitionKind.type));
  const everywhere = `/subscriptions/${settings.account}`;
  return assignments()
    .filter(({ principalId, scope }) => principalId === principal && scope.toLowerCase() === everywhere.toLowerCase())
    .flatMap(({ roleId }) => custom.get(roleId) ?? []);
};
/** Data planes know nothing of what is being made or on its way out. */
function visible<T extends { phase?: { state: string; until: number } | undefined }>(
  stored: T | undefined,
): T | undefined {
  const { phase } = stored ?? {};
  if (phase?.state === 'Deleting' || (phase?.state === 'Creating' && phase.until > Date.now())) return undefined;
  return stored;
}

const queues = new Queues(join(settings.state, 'queues'));
const azurite = new Azurite({
  state: join(settings.state, 'blob'),
  port: ports.azurite,
  accounts: [...store.list('Microsoft.Storage/storageAccounts')].map(({ name }) => name),
});

let iot: IotServices | undefined;
const services = (): IotServices => {
  if (!iot) throw new Error('IoT Hub and Event Hubs have not started yet');
  return iot;
};
const core = new ArmCore({
  store,
  subscription: settings.account,
  tenant,
  operationMs: settings.operationMs,
  nameHeldMs: settings.nameHeldMs,
  usages: new Usages(settings.state, (type) => store.list(type)),
  kinds: [
    ...storageKinds(azurite, queues),
    ...eventGridKinds,
    ...networkKinds,
    ...computeKinds,
    ...insightsKinds,
    ...dnsKinds,
    ...trafficManagerKinds,
    ...eventHubKinds((stream) => services().dropStream(stream)),
    ...iotHubKinds({
      devices: (registry) => services().devices(registry),
      dropStream: (stream) => services().dropStream(stream),
      dropHub: (registry) => services().dropHub(registry),
    }),
    roleAssignmentKind,
    roleDefinitionKind,
  ],
});

const listen = (server: Server, port: number): Promise<void> =>
  new Promise((resolve, reject) => {
    // The gateway keeps connections; one that ends just as it is used again would fail a call for no reason.
    server.keepAliveTimeout = 120_000;
    server.once('error', reject).listen(port, '127.0.0.1', resolve);
  });

const containerKind = 'Microsoft.Storage/storageAccounts/blobServices/containers';
const front = blobFront({
  arm,
  entra: entra.verify,
  azurite,
  tenant,
  events: new EventGrid({ arm, queues }),
  containerChanged: (account, name, exists) =>
    core.inTurn(async () => {
      const kind = core.kind(containerKind);
      const id = `${account.id}/blobServices/default/containers/${name}`;
      if (!kind) return;
      if (exists) await core.put(id, name, kind, {}, {});
      else await core.delete(id, kind, {});
    }),
});

[iot] = await Promise.all([
  startIotServices({
    arm: noting,
    entra: entra.verify,
    state: join(settings.state, 'iot'),
    certificates: settings.certificates,
    port: ports.iot,
  }),
  azurite.ready(),
  ensureZone(core, sampleZone),
  serveDns({ port: dnsPort(settings), lookup: azureZones(arm) }),
  listen(armServer({ api: new ArmApi(core, granted), verify: entra.verify, granted }), ports.arm),
  listen(entra.server(), ports.entra),
  listen(front, ports.blob),
  listen(queueFront({ arm, entra: entra.verify, queues, tenant }), ports.queue),
]);
// Deletions end in time also when nobody asks.
setInterval(
  () => {
    core.inTurn(async () => undefined).catch((error: unknown) => process.stderr.write(`ARM: ${String(error)}\n`));
  },
  Math.max(100, settings.operationMs),
);

for (const signal of ['SIGTERM', 'SIGINT'] as const)
  process.on(signal, () => {
    azurite.stop();
    process.exit(0);
  });

announce([
  { name: 'arm', hosts: ['management.azure.com'], port: 443, protocol: 'http', to: ports.arm },
  {
    name: 'entra',
    hosts: ['login.microsoftonline.com', 'login.microsoft.com', 'login.windows.net'],
    port: 443,
    protocol: 'http',
    to: ports.entra,
  },
  { name: 'blob', hosts: ['*.blob.core.windows.net'], port: 443, protocol: 'http', to: ports.blob },
  { name: 'queue', hosts: ['*.queue.core.windows.net'], port: 443, protocol: 'http', to: ports.queue },
  ...services().listeners,
]);
