/** The resource types of Event Hubs, as data for the ARM core: how each is answered, and what a PUT makes of it. */
import { randomBytes } from 'node:crypto';
import type { Stored } from './directory.ts';
import { authorizationRule, consumerGroup, hub, namespace, type Properties, Refusal } from './rules.ts';

/** What a PUT or PATCH is about. */
export interface Asked {
  subscription: string;
  tenant: string;
  name: string;
  id: string;
  body: Properties;
  before: Stored | undefined;
  /** Nearest first. */
  parents: readonly Stored[];
  /** All resources of a type. */
  list(type: string): Iterable<Stored>;
}

/** What the type itself has to say; id, name, type, location, tags and etag are the core's. */
export interface Made {
  sku?: unknown;
  identity?: unknown;
  properties: Properties;
}

export interface ArmKind {
  /** `Microsoft.EventHub/namespaces/eventhubs`. */
  type: string;
  /** Takes location and tags. */
  tracked: boolean;
  /** Status of a PUT that created and of one that changed; of a DELETE that found something. */
  statuses: { created: 200 | 201; updated: 200 | 201 | 202; deleted: 200 | 202 | 204 };
  /** PUT and DELETE take time: `provisioningState` and an operation to ask for. */
  longRunning: boolean;
  /** A PUT on what exists needs its etag. */
  ifMatch: boolean;
  /** Names are unique in all of Azure; checked against this many characters of DNS. */
  global: boolean;
  make(asked: Asked): Made;
  /** What a PATCH of more than tags makes; undefined: tags only. */
  patch?: (asked: Asked) => Made;
  /** What a reader sees; undefined: all of it. */
  show?: (made: Made) => Made;
  /** POST actions below the resource, by lower-case name. */
  actions?: Record<string, (stored: Stored) => unknown>;
  removed?: (stored: Stored) => void;
}

const needParent = ({ parents, id }: Asked): Stored => {
  const [parent] = parents;
  if (!parent)
    throw new Refusal(404, 'ParentResourceNotFound', `Failed to perform 'write' on ${id}: its parent was not found.`);
  return parent;
};

const keysOf =
  (address: (stored: Stored) => string) =>
  (stored: Stored): unknown => {
    const { primaryKey, secondaryKey } = stored.properties;
    const of = (key: unknown): string =>
      `Endpoint=sb://${address(stored)}.servicebus.windows.net/;SharedAccessKeyName=${stored.name};SharedAccessKey=${String(key)}`;
    return {
      primaryConnectionString: of(primaryKey),
      secondaryConnectionString: of(secondaryKey),
      primaryKey,
      secondaryKey,
      keyName: stored.name,
    };
  };
const namespaceIn = ({ id }: Stored): string => /\/namespaces\/([^/]+)/i.exec(id)?.[1] ?? '';
const withoutKeys = ({ properties, ...rest }: Made): Made => ({ ...rest, properties: { rights: properties.rights } });
const small = { created: 200, updated: 200, deleted: 200 } as const;
const rule = (type: string): ArmKind => ({
  type: `${type}/authorizationRules`,
  tracked: false,
  statuses: small,
  longRunning: false,
  ifMatch: false,
  global: false,
  make: (asked) => {
    needParent(asked);
    return authorizationRule(asked.body, asked.before);
  },
  show: withoutKeys,
  actions: { listkeys: keysOf(namespaceIn) },
});

export const eventHubKinds = (dropStream: (streamId: string) => void): ArmKind[] => [
  {
    type: 'Microsoft.EventHub/namespaces',
    tracked: true,
    statuses: { created: 201, updated: 200, deleted: 202 },
    longRunning: true,
    ifMatch: false,
    global: true,
    make: ({ name, subscription, body, before }) => namespace(name, subscription, body, before),
    patch: ({ name, subscription, body, before }) => namespace(name, subscription, body, before),
  },
  {
    type: 'Microsoft.EventHub/namespaces/eventhubs',
    tracked: false,
    statuses: small,
    longRunning: false,
    ifMatch: false,
    global: false,
    make: (asked) => hub(asked.name, needParent(asked), asked.body, asked.before),
    show: ({ properties: { streamId: _stream, ...properties }, ...rest }) => ({ ...rest, properties }),
    removed: ({ properties }) => dropStream(String(properties.streamId)),
  },
  {
    type: 'Microsoft.EventHub/namespaces/eventhubs/consumergroups',
    tracked: false,
    statuses: small,
    longRunning: false,
    ifMatch: false,
    global: false,
    make: (asked) => {
      needParent(asked);
      return consumerGroup(asked.name, asked.body, asked.before);
    },
  },
  rule('Microsoft.EventHub/namespaces'),
  rule('Microsoft.EventHub/namespaces/eventhubs'),
];

/** Every new namespace has this policy. */
export const rootRule = (): Properties => ({
  rights: ['Listen', 'Manage', 'Send'],
  primaryKey: randomBytes(32).toString('base64'),
  secondaryKey: randomBytes(32).toString('base64'),
});
