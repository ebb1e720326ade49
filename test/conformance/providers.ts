/** The providers as a worker makes them, from the credentials of the local clouds that the tests run with. */
import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { awsProvider } from '../../activities/providers/aws/provider.ts';
import { azureProvider } from '../../activities/providers/azure/provider.ts';
import type { Provider } from '../../activities/providers/driver.ts';
import { gcpProvider } from '../../activities/providers/gcp/provider.ts';
import { accounts } from '../../emulators/environment.ts';
import type { ProviderType } from '../../model/service.ts';

const secret = (name: string): string => {
  const value = process.env[name];
  if (!value) throw new Error(`${name} is not set: run this test with \`npm test -- <path of the test>\``);
  return value;
};

const common = (callDeadlineMs = 20_000) => ({
  deviceCa: readFileSync(join(dirname(secret('MULTI_CLOUD_NETWORK')), 'device-ca', 'ca.pem'), 'utf8'),
  brokerTarball: '.local/broker/broker.tar.gz',
  pollMs: 25,
  callDeadlineMs,
});

type Credentials = Record<string, string>;

/** With other credentials than those of the worker of the tests where they are given. */
export const testProviders: Record<
  ProviderType,
  { region: string; account: string; provider: (credentials?: Credentials, callDeadlineMs?: number) => Provider }
> = {
  aws: {
    region: 'us-west-2',
    account: accounts.aws,
    provider: (credentials, callDeadlineMs) =>
      awsProvider({
        ...common(callDeadlineMs),
        name: 'aws',
        region: 'us-west-2',
        credentials: credentials ?? {
          access_key_id: secret('AWS_ACCESS_KEY_ID'),
          secret_access_key: secret('AWS_SECRET_ACCESS_KEY'),
        },
      }),
  },
  azure: {
    region: 'westus2',
    account: accounts.azure,
    provider: (credentials, callDeadlineMs) =>
      azureProvider({
        ...common(callDeadlineMs),
        name: 'azure',
        region: 'westus2',
        credentials: credentials ?? {
          tenant_id: secret('AZURE_TENANT_ID'),
          client_id: secret('AZURE_CLIENT_ID'),
          client_secret: secret('AZURE_CLIENT_SECRET'),
        },
      }),
  },
  gcp: {
    region: 'us-central1',
    account: accounts.gcp,
    provider: (credentials, callDeadlineMs) =>
      gcpProvider({
        ...common(callDeadlineMs),
        name: 'gcp',
        region: 'us-central1',
        credentials: credentials ?? { project_id: secret('GCP_PROJECT_ID'), key_file: secret('GCP_KEY_FILE') },
      }),
  },
};
