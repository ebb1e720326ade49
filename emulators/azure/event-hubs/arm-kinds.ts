/** The resource types of Event Hubs, as data for the ARM core: how each is answered, and what a PUT makes of it. */
import { randomBytes } from 'node:crypto';
import { type Properties, Refusal } from '../arm/accept.ts';
import type { ArmKind, Asked, Made, Stored } from '../arm/kind.ts';
import { authorizationRule, consumerGroup, hub, namespace } from './rules.ts';

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
    children: () => [
      {
        type: 'Microsoft.EventHub/namespaces/authorizationRules',
        name: 'RootManageSharedAccessKey',
        properties: rootRule(),
      },
    ],
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
