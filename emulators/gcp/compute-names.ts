/** What schemas, kinds and permissions of Compute Engine are called. */

/** Schema of the members of each collection. */
export const schemaOf: Record<string, string> = {
  networks: 'Network',
  subnetworks: 'Subnetwork',
  firewalls: 'Firewall',
  routers: 'Router',
  addresses: 'Address',
  forwardingRules: 'ForwardingRule',
  instanceTemplates: 'InstanceTemplate',
  healthChecks: 'HealthCheck',
  backendServices: 'BackendService',
  instanceGroupManagers: 'InstanceGroupManager',
  autoscalers: 'Autoscaler',
  instances: 'Instance',
  instanceGroups: 'InstanceGroup',
};
/** Resources whose permissions keep `region` in their name. */
const regionalPermissions = new Set(['regionHealthChecks', 'regionBackendServices', 'regionOperations']);
const verbs: Record<string, string> = {
  insert: 'create',
  patch: 'update',
  wait: 'get',
  aggregatedList: 'list',
  getHealth: 'get',
  listManagedInstances: 'get',
  listInstances: 'list',
  listErrors: 'get',
  resize: 'update',
  setInstanceTemplate: 'update',
  recreateInstances: 'update',
};

/** `compute.regionInstanceGroupManagers.insert` needs `compute.instanceGroupManagers.create`. */
export function permissionOf(id: string): string {
  const [, collection = '', verb = ''] = id.split('.');
  const plain = collection.replace(/^region(?=[A-Z])/, '');
  const resource = regionalPermissions.has(collection) ? collection : plain.charAt(0).toLowerCase() + plain.slice(1);
  return `compute.${resource}.${verbs[verb] ?? verb}`;
}

/** `compute#network`. */
export function kindOf(collection: string): string {
  const schema = schemaOf[collection] ?? '';
  return `compute#${schema.charAt(0).toLowerCase()}${schema.slice(1)}`;
}
