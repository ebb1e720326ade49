/** What requests need, in the words of role definitions: https://learn.microsoft.com/azure/role-based-access-control/permissions-reference (2026-11). */
import { parsePath } from './arm/resource-id.ts';

const resources = 'Microsoft.Resources/subscriptions';
const verbs: Readonly<Record<string, string>> = { GET: 'read', HEAD: 'read', DELETE: 'delete', POST: 'action' };

/**
 * Besides the write of a resource: the rights to use those that it refers to ("linked access check"). As the documents of
 * virtual networks, NAT gateways and scale sets name them.
 */
const linked: Readonly<Record<string, readonly string[]>> = {
  'microsoft.network/virtualnetworks/write': [
    'Microsoft.Network/networkSecurityGroups/join/action',
    'Microsoft.Network/natGateways/join/action',
  ],
  'microsoft.network/natgateways/write': ['Microsoft.Network/publicIPAddresses/join/action'],
  // https://learn.microsoft.com/azure/event-grid/security-authorization#permissions-required-for-event-handlers, 2026-11-28.
  'microsoft.eventgrid/systemtopics/eventsubscriptions/write': [
    'Microsoft.EventGrid/eventSubscriptions/write',
    'Microsoft.Storage/storageAccounts/queueServices/queues/write',
  ],
  'microsoft.compute/virtualmachinescalesets/write': ['Microsoft.Network/virtualNetworks/subnets/join/action'],
};

/** `Microsoft.Storage/storageAccounts/write`, and what the write is checked for besides. `path` without query. */
export function armActions(method: string, path: string): string[] {
  const verb = verbs[method] ?? 'write';
  const [, , rest = ''] = /^\/+subscriptions(\/[^/]+)?(.*?)\/*$/i.exec(path) ?? [];
  const parsed = parsePath(path);
  if (parsed) {
    // IoT Hub has one right for both ways to ask how an operation goes, Event Grid a name of its own.
    const type = parsed.type
      .replace(/^(Microsoft\.Devices\/locations)\/operation(Statuses|Results)$/i, '$1/operationResults')
      .replace(/^(Microsoft\.EventGrid\/locations)\/operationStatuses$/i, '$1/operationsStatus');
    const action = `${type}/${verb}`;
    return [action, ...(linked[action.toLowerCase()] ?? [])];
  }
  if (/^\/resourcegroups\/[^/]+\/resources$/i.test(rest)) return [`${resources}/resourceGroups/resources/${verb}`];
  if (/^\/resourcegroups(\/[^/]+)?$/i.test(rest)) return [`${resources}/resourceGroups/${verb}`];
  if (/^\/resources$/i.test(rest)) return [`${resources}/resources/${verb}`];
  return rest === '' ? [`${resources}/${verb}`] : [`${resources}${rest}/${verb}`];
}

const containers = 'Microsoft.Storage/storageAccounts/blobServices/containers';

/** The data action of a request to `*.blob.core.windows.net`. */
export function blobAction(method: string, path: string, query: URLSearchParams): string {
  const [, container, blob] = path.split('/');
  const reads = method === 'GET' || method === 'HEAD';
  if (!container) return `${containers}/read`;
  if (!blob && query.get('restype') === 'container') {
    if (reads) return query.get('comp') === 'list' ? `${containers}/blobs/read` : `${containers}/read`;
    return method === 'DELETE' ? `${containers}/delete` : `${containers}/write`;
  }
  if (query.get('comp') === 'tags') return `${containers}/blobs/tags/${reads ? 'read' : 'write'}`;
  if (reads) return `${containers}/blobs/read`;
  return method === 'DELETE' ? `${containers}/blobs/delete` : `${containers}/blobs/write`;
}

const queues = 'Microsoft.Storage/storageAccounts/queueServices/queues';

/**
 * The data action of a request to `*.queue.core.windows.net`. Of the two that let somebody get and delete messages, the one of
 * who works them off: https://learn.microsoft.com/rest/api/storageservices/get-messages, 2026-11-28.
 */
export function queueAction(method: string, path: string, query: URLSearchParams): string {
  const [, , collection, id] = path.split('/');
  if (collection !== 'messages') return method === 'GET' || method === 'HEAD' ? `${queues}/read` : `${queues}/write`;
  if (method === 'POST') return `${queues}/messages/add/action`;
  if (method === 'PUT') return `${queues}/messages/write`;
  if (method === 'DELETE' && !id) return `${queues}/messages/delete`;
  return query.has('peekonly') ? `${queues}/messages/read` : `${queues}/messages/process/action`;
}
