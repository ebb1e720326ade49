/**
 * Identities of the local clouds that may do what the policies say which `multi-cloud permissions` prints, and no more: a
 * provider for each, and what their calls have needed. Recording, they may do everything.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import type { Provider } from '../../activities/providers/driver.ts';
import { loadPermissions } from '../../config/load.ts';
import { awsActions } from '../../emulators/gateway/rights-aws.ts';
import {
  type Identity,
  identities,
  isDataAction,
  neededRights,
  type Part,
  type PermissionSheet,
  policiesFor,
  rightsFor,
} from '../../model/permissions.ts';
import type { ProviderType, ServiceType } from '../../model/service.ts';
import { usedRights } from '../local/stack.ts';
import { limitedAws } from './limited-aws.ts';
import { limitedAzure } from './limited-azure.ts';
import { limitedGcp } from './limited-gcp.ts';
import { testProviders } from './providers.ts';

export const recording = process.env.MULTI_CLOUD_RECORD_PERMISSIONS === 'true';
const sheets = loadPermissions('config');

const limited = { aws: limitedAws, azure: limitedAzure, gcp: limitedGcp };

export interface Limited {
  provider: Provider;
  /** As the gateway sees its calls. */
  caller: string;
  credentials: Record<string, string>;
}

/** Credentials of an identity that may do what its policies say for some parts; `estate`: its resources' names begin with it. */
export function limitedCredentials(
  type: ProviderType,
  { name, parts, identity, estate }: { name: string; parts: Part[]; identity: Identity; estate: string },
): Promise<{ caller: string; credentials: Record<string, string> }> {
  const scope = { estate, account: testProviders[type].account };
  const policies = policiesFor(type, sheets[type], { identity, parts }, scope);
  return limited[type](name, recording ? undefined : Object.values(policies));
}

/** Under the names that placeholders of the estate files of the tests have: `AWS_ACCESS_KEY_ID`. */
export const placeholders = (type: ProviderType, credentials: Record<string, string>): Record<string, string> =>
  Object.fromEntries(Object.entries(credentials).map(([key, value]) => [`${type}_${key}`.toUpperCase(), value]));

/** The same as a provider, for one part. */
export async function limitedProvider(
  type: ProviderType,
  part: Part,
  identity: Identity,
  estate: string,
): Promise<Limited> {
  const name = `${part}-${identity}`.replaceAll('_', '-');
  const { credentials, caller } = await limitedCredentials(type, { name, parts: [part], identity, estate });
  return { provider: testProviders[type].provider(credentials), caller, credentials };
}

/** What the sheet says that the identity needs. */
export const listedRights = (type: ProviderType, part: Part, identity: Identity): string[] =>
  rightsFor(sheets[type], { identity, parts: [part] });

/** The same as a worker asks for it before it begins. */
export const askedRights = (type: ProviderType, service: ServiceType, identity: Identity): string[] =>
  neededRights(sheets[type], [identity], service);

/**
 * What calls of the identity have needed. On Azure without rights on content: whoever creates a resource gives itself a role
 * on its content, on that one alone; the others need them everywhere.
 */
export async function calledRights(type: ProviderType, identity: Identity, caller: string): Promise<string[]> {
  const used = await usedRights(caller);
  return type === 'azure' && identity === 'control' ? used.filter((right) => !isDataAction(right)) : used;
}

/** Writes what the identities have called into the sheet. */
export async function record(
  type: ProviderType,
  part: Part,
  callers: Readonly<Partial<Record<Identity, string>>>,
): Promise<void> {
  const file = `config/permissions/${type}.json`;
  const before = JSON.parse(readFileSync(file, 'utf8')) as PermissionSheet;
  const entries = await Promise.all(
    identities.flatMap((identity) => {
      const caller = callers[identity];
      return caller ? [calledRights(type, identity, caller).then((called) => [identity, called] as const)] : [];
    }),
  );
  const rights = { ...before.rights, [part]: Object.fromEntries(entries.filter(([, some]) => some.length > 0)) };
  const all = new Set(Object.values(rights).flatMap((identities) => Object.values(identities).flat()));
  const after: PermissionSheet = {
    recorded: new Date().toISOString().slice(0, 10),
    how: 'MULTI_CLOUD_RECORD_PERMISSIONS=true npm test -- test/conformance: the calls of each identity, as the gateway names their rights',
    rights: Object.fromEntries(Object.entries(rights).toSorted(([a], [b]) => (a < b ? -1 : 1))),
    ...(type === 'aws' && { withoutResource: awsActions.withoutResource.filter((action) => all.has(action)) }),
  };
  writeFileSync(file, `${JSON.stringify(after, null, 2)}\n`);
}
