/** Where an IoT hub sends telemetry: to an event hub, by its own identity, and to its built-in endpoint. */
import type { ResourceDriver } from '../driver.ts';
import type { AzureClients } from './clients.ts';
import { goesWithItsParent } from './event-hubs.ts';
import { builtIn, hubState, IotHubs } from './iot-hub-document.ts';
import { ownerOf } from './tags.ts';

/** Name of the custom endpoint and of the route to it. */
const telemetry = 'telemetry';

const deviceMessages = (name: string, endpoint: string) => ({
  name,
  source: 'DeviceMessages',
  condition: 'true',
  endpointNames: [endpoint],
  isEnabled: true,
});

/** What the route must look like; the names of namespace and event hub are known before either exists. */
export const routeDesired = (namespace: string, hub: string) => ({
  namespace: `${namespace}.servicebus.windows.net`,
  hub,
  authentication: 'identityBased',
  routes: [`built-in: true -> ${builtIn}`, `${telemetry}: true -> ${telemetry}`],
  fallback: true,
});

/**
 * A part of the hub's own document, but a resource of its own here: an identity-based endpoint can only be made once the
 * hub has its identity and that identity its role, and must be gone before either is taken away.
 */
export function iotHubRouteDriver(clients: AzureClients): ResourceDriver {
  const hubs = new IotHubs(clients);
  const route: ResourceDriver = {
    kind: 'azure.iothub.route',
    immutable: [],
    async observe(spec, call) {
      const seen = await hubs.read(spec.name, call);
      const properties = seen?.properties ?? {};
      const { endpoints, routes = [], fallbackRoute } = properties.routing ?? {};
      const endpoint = endpoints?.eventHubs?.find(({ name }) => name === telemetry);
      if (!seen?.id || !endpoint) return undefined;
      return {
        id: `${seen.id}/routing/${telemetry}`,
        owner: ownerOf(seen.tags),
        state: hubState(properties),
        properties: {
          // ARM writes a trailing slash and the port in some versions.
          namespace: (endpoint.endpointUri ?? '').replace(/^sb:\/\//, '').replace(/[:/].*$/, ''),
          hub: endpoint.entityPath ?? '',
          authentication: endpoint.authenticationType ?? '',
          routes: routes
            .filter(({ isEnabled, source }) => isEnabled && source === 'DeviceMessages')
            .map(({ name, condition, endpointNames }) => `${name}: ${condition ?? 'true'} -> ${endpointNames.join()}`)
            .toSorted(),
          fallback: fallbackRoute?.isEnabled ?? false,
        },
        outputs: {},
      };
    },
    create: (spec, call) =>
      hubs.change(spec.name, call, (seen, properties) => ({
        ...seen,
        properties: {
          ...properties,
          routing: {
            ...properties.routing,
            endpoints: {
              ...properties.routing?.endpoints,
              eventHubs: [
                {
                  name: telemetry,
                  authenticationType: 'identityBased',
                  endpointUri: `sb://${String(spec.desired.namespace)}`,
                  entityPath: String(spec.desired.hub),
                  subscriptionId: call.placement.account,
                  resourceGroup: hubs.group(call),
                },
              ],
            },
            routes: [deviceMessages(telemetry, telemetry), deviceMessages('built-in', builtIn)],
            fallbackRoute: { ...deviceMessages('$fallback', builtIn) },
          },
        },
      })),
    update: (spec, _observed, _drift, call) => route.create(spec, call),
    remove: (spec, _observed, call) =>
      hubs.change(spec.name, call, (seen, properties) => ({
        ...seen,
        properties: {
          ...properties,
          routing: {
            ...properties.routing,
            endpoints: { ...properties.routing?.endpoints, eventHubs: [] },
            routes: [],
          },
        },
      })),
    list: goesWithItsParent,
  };
  return route;
}
