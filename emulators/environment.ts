/**
 * The environment of every process of the local mode. It is built up from nothing, so whatever the user's shell has
 * exported for a real cloud (keys, profiles, endpoints, proxies, extra CAs) is not in it.
 */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { serviceAccountKeyFile, visitor } from './gcp/service-account-key.ts';

const passedOn = ['PATH', 'LANG', 'LC_ALL', 'TZ', 'TMPDIR', 'TERM', 'COLUMNS', 'NO_COLOR', 'FORCE_COLOR', 'CI'];

/** The accounts that exist on the local clouds. */
export const accounts = {
  aws: '000000000000',
  azure: '00000000-0000-4000-8000-00006d756c74',
  gcp: 'multi-cloud-local',
} as const;

/** The DNS zone of the sample estate: it exists on each local cloud. */
export const sampleZone = 'iot.example.com';

/** The Entra tenant and application that the local Azure knows; `object` is its service principal's ID. */
export const azureApplication = {
  tenant: '00000000-0000-4000-8000-0000000074e0',
  client: '00000000-0000-4000-8000-000000000a99',
  secret: 'local-client-secret',
  object: '00000000-0000-4000-8000-000000000b1e',
} as const;

/** A second application of that tenant: a program that is not ours. It has no role until somebody assigns it one. */
export const azureVisitor = {
  tenant: azureApplication.tenant,
  client: '00000000-0000-4000-8000-000000000a77',
  secret: 'visitor-client-secret',
  object: '00000000-0000-4000-8000-000000000b77',
} as const;

/** Key file of a second account of the local Google Cloud. */
export const gcpVisitorKeyFile = (state: string): string =>
  serviceAccountKeyFile(join(state, 'gcp'), accounts.gcp, visitor);

/** What every child gets: no home but the state folder's, no metadata services, no telemetry. */
export function baseEnvironment(state: string): Record<string, string> {
  const home = join(state, 'home');
  mkdirSync(home, { recursive: true });
  const inherited = passedOn.flatMap((name) => {
    const value = process.env[name];
    return value === undefined ? [] : [[name, value] as const];
  });
  return {
    ...Object.fromEntries(inherited),
    HOME: home,
    USERPROFILE: home,
    XDG_CACHE_HOME: join(home, '.cache'),
    XDG_CONFIG_HOME: join(home, '.config'),
    NODE_COMPILE_CACHE: join(state, 'compile-cache'),
    PYTHONDONTWRITEBYTECODE: '1',
    AWS_CONFIG_FILE: join(home, 'aws-config'),
    AWS_SHARED_CREDENTIALS_FILE: join(home, 'aws-credentials'),
    AWS_EC2_METADATA_DISABLED: 'true',
    AWS_SDK_LOAD_CONFIG: '0',
    CLOUDSDK_CONFIG: join(home, 'gcloud'),
    NO_GCE_CHECK: 'true',
    METADATA_SERVER_DETECTION: 'none',
    AZURE_CONFIG_DIR: join(home, 'azure'),
    AZURE_TELEMETRY_DISABLED: 'true',
    SWC_DISABLE_TELEMETRY: '1',
    DO_NOT_TRACK: '1',
  };
}

/** Credentials of the local clouds under the names that the sample's `${NAME}`s use. Worthless anywhere else. */
export function localCredentials(state: string): Record<string, string> {
  return {
    AWS_ACCESS_KEY_ID: 'test',
    AWS_SECRET_ACCESS_KEY: 'test',
    AZURE_TENANT_ID: azureApplication.tenant,
    AZURE_CLIENT_ID: azureApplication.client,
    AZURE_CLIENT_SECRET: azureApplication.secret,
    GCP_PROJECT_ID: accounts.gcp,
    // In the state folder of the local Google Cloud, which trusts the keys that lie there.
    GCP_KEY_FILE: serviceAccountKeyFile(join(state, 'gcp'), accounts.gcp),
  };
}
