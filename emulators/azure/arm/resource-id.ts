/** Resource IDs: `/subscriptions/…/resourceGroups/…/providers/<namespace>/<type>/<name>[/<type>/<name>…]`, in any case. */

export interface ResourcePath {
  /** What stands before the last `/providers/`: a subscription, a resource group, or for extensions any resource. */
  scope: string;
  /** `Microsoft.EventHub/namespaces/eventhubs`. */
  type: string;
  /** Of the last type; undefined for a collection or an action. */
  name: string | undefined;
  /** The path without its last segment. */
  parent: string;
  last: string;
}

export const keyOf = (id: string): string => id.toLowerCase().replace(/\/+$/, '');

/** With the spelling that ARM answers. */
export const normalId = (path: string): string => path.replace(/\/resourcegroups\//i, '/resourceGroups/');

export function parsePath(path: string): ResourcePath | undefined {
  const at = path.toLowerCase().lastIndexOf('/providers/');
  if (at < 0) return undefined;
  const [namespace = '', ...rest] = path.slice(at + '/providers/'.length).split('/');
  if (!namespace || rest.length === 0) return undefined;
  const types = rest.filter((_, index) => index % 2 === 0);
  const last = rest.at(-1) ?? '';
  return {
    scope: path.slice(0, at),
    type: [namespace, ...types].join('/'),
    name: rest.length % 2 === 0 ? last : undefined,
    parent: path.slice(0, path.lastIndexOf('/')),
    last,
  };
}

export const resourceGroupOf = (id: string): string | undefined =>
  /^\/subscriptions\/[^/]+\/resourceGroups\/[^/]+/i.exec(id)?.[0];

/** Whether `id` is the scope itself or lies in it. */
export const within = (scope: string, id: string): boolean => {
  const [outer, inner] = [keyOf(scope), keyOf(id)];
  return inner === outer || inner.startsWith(`${outer}/`);
};
