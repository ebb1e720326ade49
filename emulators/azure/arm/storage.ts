/** `Microsoft.Storage` (version 2025-06-01): accounts, their blob service, containers and lifecycle policy. */
import { z } from 'zod';
import type { Queues } from '../queue/messages.ts';
import { accept, asObject, type Properties, Refusal } from './accept.ts';
import type { ArmKind, Asked, Made, Stored } from './kind.ts';

/** The data plane, as far as ARM makes and removes things there. */
export interface BlobStore {
  addAccount(name: string): Promise<void>;
  addContainer(account: string, container: string): Promise<void>;
  removeContainer(account: string, container: string): Promise<void>;
  keys(account: string): string[];
}

const Enabled = z.strictObject({ enabled: z.boolean().optional(), keyType: z.enum(['Account', 'Service']).optional() });
const Encryption = z.strictObject({
  services: z.strictObject({ blob: Enabled, file: Enabled, queue: Enabled, table: Enabled }).partial().optional(),
  keySource: z.enum(['Microsoft.Storage', 'Microsoft.Keyvault']).default('Microsoft.Storage'),
  requireInfrastructureEncryption: z.boolean().optional(),
});
const Acls = z.strictObject({
  bypass: z.string().optional(),
  defaultAction: z.enum(['Allow', 'Deny']),
  virtualNetworkRules: z.array(z.json()).max(0).optional(),
  ipRules: z.array(z.strictObject({ value: z.string(), action: z.literal('Allow').optional() })).optional(),
  resourceAccessRules: z.array(z.json()).max(0).optional(),
});
export const AccountProperties = z.strictObject({
  accessTier: z.enum(['Hot', 'Cool', 'Cold', 'Premium']).default('Hot'),
  supportsHttpsTrafficOnly: z.boolean().default(true),
  minimumTlsVersion: z.enum(['TLS1_0', 'TLS1_1', 'TLS1_2', 'TLS1_3']).default('TLS1_0'),
  allowBlobPublicAccess: z.boolean().default(false),
  allowSharedKeyAccess: z.boolean().optional(),
  allowCrossTenantReplication: z.boolean().default(false),
  defaultToOAuthAuthentication: z.boolean().optional(),
  publicNetworkAccess: z.enum(['Enabled', 'Disabled']).optional(),
  isHnsEnabled: z.boolean().optional(),
  encryption: Encryption.prefault({}),
  networkAcls: Acls.prefault({ defaultAction: 'Allow', bypass: 'AzureServices' }),
});
const readOnly = ['provisioningState', 'primaryEndpoints', 'primaryLocation', 'statusOfPrimary', 'creationTime'];
const Sku = z.strictObject({
  name: z.enum(['Standard_LRS', 'Standard_GRS', 'Standard_RAGRS', 'Standard_ZRS', 'Standard_GZRS', 'Standard_RAGZRS']),
  tier: z.string().optional(),
});

function account({ name, body, before }: Asked, partly: boolean): Made {
  if (!/^[a-z0-9]{3,24}$/.test(name))
    throw new Refusal(400, 'AccountNameInvalid', `${name} is not a valid storage account name.`);
  const old = partly ? writable(before?.properties ?? {}) : {};
  const given = accept(AccountProperties, { ...old, ...asObject(body.properties) }, readOnly);
  const sku = accept(Sku, body.sku ?? (partly ? before?.sku : undefined));
  const variant = body.kind ?? before?.kind;
  if (variant !== 'StorageV2') throw new Refusal(400, 'InvalidValuesForRequestParameters', 'Only StorageV2 is served.');
  const infrastructure = (of: unknown): boolean =>
    asObject(asObject(of).encryption).requireInfrastructureEncryption === true;
  if (
    before &&
    (infrastructure(before.properties) !== infrastructure(given) ||
      before.properties.isHnsEnabled !== given.isHnsEnabled)
  )
    throw new Refusal(409, 'PropertyChangeNotAllowed', 'Infrastructure encryption and namespace are set at creation.');
  return {
    sku: { ...sku, tier: 'Standard' },
    kind: variant,
    properties: {
      ...given,
      primaryLocation: before?.location ?? body.location,
      statusOfPrimary: 'available',
      creationTime: before?.properties.creationTime ?? new Date().toISOString(),
      primaryEndpoints: {
        blob: `https://${name}.blob.core.windows.net/`,
        queue: `https://${name}.queue.core.windows.net/`,
      },
    },
  };
}

const writable = (properties: Properties): Properties =>
  Object.fromEntries(Object.entries(properties).filter(([key]) => !readOnly.includes(key)));

const Policy = z.strictObject({
  enabled: z.boolean().optional(),
  days: z.int().min(1).max(365).optional(),
  allowPermanentDelete: z.boolean().optional(),
});
export const BlobServiceProperties = z.strictObject({
  cors: z.strictObject({ corsRules: z.array(z.json()).optional() }).optional(),
  defaultServiceVersion: z.string().optional(),
  deleteRetentionPolicy: Policy.default({ enabled: false }),
  containerDeleteRetentionPolicy: Policy.default({ enabled: false }),
  isVersioningEnabled: z.boolean().default(false),
  changeFeed: z.strictObject({ enabled: z.boolean().optional(), retentionInDays: z.int().optional() }).optional(),
  restorePolicy: z.strictObject({ enabled: z.boolean(), days: z.int().optional() }).optional(),
});

export const ContainerProperties = z.strictObject({
  publicAccess: z.enum(['None', 'Blob', 'Container']).default('None'),
  metadata: z.record(z.string().regex(/^[A-Za-z_]\w*$/), z.string()).default({}),
  defaultEncryptionScope: z.string().optional(),
  denyEncryptionScopeOverride: z.boolean().optional(),
});
const containerReadOnly = ['lastModifiedTime', 'leaseStatus', 'leaseState', 'hasImmutabilityPolicy', 'hasLegalHold'];

function container({ name, body, before, parents }: Asked): Made {
  if (!/^(?!-)(?!.*--)[a-z0-9-]{3,63}(?<!-)$/.test(name))
    throw new Refusal(400, 'InvalidResourceName', `The container name ${name} is not valid.`);
  const owner = accountAbove(parents);
  const old = Object.fromEntries(
    Object.entries(before?.properties ?? {}).filter(([key]) => !containerReadOnly.includes(key)),
  );
  const given = accept(ContainerProperties, { ...old, ...asObject(body.properties) }, containerReadOnly);
  if (given.publicAccess !== 'None' && owner.properties.allowBlobPublicAccess !== true)
    throw new Refusal(409, 'PublicAccessNotPermitted', 'Public access is not permitted on this storage account.');
  return { properties: { ...given, lastModifiedTime: new Date().toISOString(), leaseState: 'Available' } };
}

function accountAbove(parents: readonly Stored[]): Stored {
  const owner = parents.find(({ type }) => type === accountType);
  if (!owner) throw new Refusal(404, 'ParentResourceNotFound', 'The storage account was not found.');
  return owner;
}

const days = z.number().min(0).max(99_999);
const AfterCreation = z.strictObject({ daysAfterCreationGreaterThan: days });
const AfterModification = z
  .strictObject({ daysAfterModificationGreaterThan: days, daysAfterCreationGreaterThan: days })
  .partial();
const versionActions = z.strictObject({
  delete: AfterCreation,
  tierToCool: AfterCreation,
  tierToArchive: AfterCreation,
});
const Rule = z.strictObject({
  enabled: z.boolean().default(true),
  name: z.string().regex(/^[A-Za-z0-9-]{1,256}$/),
  type: z.literal('Lifecycle'),
  definition: z.strictObject({
    actions: z
      .strictObject({
        baseBlob: z
          .strictObject({ delete: AfterModification, tierToCool: AfterModification, tierToArchive: AfterModification })
          .partial(),
        snapshot: versionActions.partial(),
        version: versionActions.partial(),
      })
      .partial(),
    filters: z
      .strictObject({
        prefixMatch: z.array(z.string()).optional(),
        blobTypes: z.array(z.enum(['blockBlob', 'appendBlob'])).min(1),
      })
      .optional(),
  }),
});
export const PolicyProperties = z.strictObject({
  policy: z.strictObject({ rules: z.array(Rule).min(1).max(100) }),
});

const accountType = 'Microsoft.Storage/storageAccounts';
const small = { created: 200, updated: 200, deleted: 200 } as const;
const accountOf = (id: string): string => /\/storageAccounts\/([^/]+)/i.exec(id)?.[1] ?? '';

const QueueProperties = z.strictObject({ metadata: z.record(z.string(), z.string()).nullish() });

export const storageKinds = (blobs: BlobStore, queues: Queues): ArmKind[] => [
  {
    type: accountType,
    tracked: true,
    statuses: { created: 202, updated: 200, deleted: 200 },
    longRunning: 'create',
    ifMatch: false,
    global: true,
    codes: { taken: 'StorageAccountAlreadyTaken' },
    make: (asked) => account(asked, false),
    patch: (asked) => account(asked, true),
    made: ({ name }) => blobs.addAccount(name),
    actions: {
      listkeys: ({ name }) => ({
        keys: blobs.keys(name).map((value, index) => ({ keyName: `key${index + 1}`, value, permissions: 'FULL' })),
      }),
    },
  },
  {
    type: `${accountType}/blobServices`,
    tracked: false,
    statuses: small,
    longRunning: false,
    ifMatch: false,
    global: false,
    implicit: () => ({ properties: BlobServiceProperties.parse({}) }),
    make: ({ body, parents }) => {
      accountAbove(parents);
      return { properties: accept(BlobServiceProperties, asObject(body.properties)) };
    },
  },
  {
    type: `${accountType}/blobServices/containers`,
    tracked: false,
    statuses: { created: 201, updated: 200, deleted: 200 },
    longRunning: false,
    ifMatch: false,
    global: false,
    codes: { missing: 'ContainerNotFound' },
    make: container,
    patch: container,
    made: ({ id, name }) => blobs.addContainer(accountOf(id), name),
    removed: ({ id, name }) => blobs.removeContainer(accountOf(id), name),
  },
  {
    type: `${accountType}/queueServices`,
    tracked: false,
    statuses: small,
    longRunning: false,
    ifMatch: false,
    global: false,
    implicit: () => ({ properties: {} }),
    make: ({ body, parents }) => {
      accountAbove(parents);
      return { properties: accept(z.strictObject({}), asObject(body.properties), ['cors']) };
    },
  },
  {
    type: `${accountType}/queueServices/queues`,
    tracked: false,
    statuses: { created: 200, updated: 200, deleted: 204 },
    longRunning: false,
    ifMatch: false,
    global: false,
    codes: { missing: 'QueueNotFound' },
    make: ({ name, body, parents }) => {
      accountAbove(parents);
      if (!/^(?!-)(?!.*--)[a-z0-9-]{3,63}(?<!-)$/.test(name))
        throw new Refusal(400, 'InvalidResourceName', `The queue name ${name} is not valid.`);
      const { metadata } = accept(QueueProperties, asObject(body.properties), ['approximateMessageCount']);
      return { properties: { metadata: metadata ?? {} } };
    },
    removed: ({ id }) => queues.remove(id),
  },
  {
    type: `${accountType}/managementPolicies`,
    tracked: false,
    statuses: small,
    longRunning: false,
    ifMatch: false,
    global: false,
    codes: { missing: 'ManagementPolicyNotFound' },
    make: ({ name, body, parents }) => {
      accountAbove(parents);
      if (name !== 'default') throw new Refusal(400, 'InvalidRequestPropertyValue', 'The only policy is "default".');
      const given = accept(PolicyProperties, asObject(body.properties), ['lastModifiedTime']);
      return { properties: { ...given, lastModifiedTime: new Date().toISOString() } };
    },
  },
];
