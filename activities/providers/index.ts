/** The table of clouds. A new one is a line here and a folder beside it. */
import type { ProviderType } from '../../model/service.ts';
import { awsProvider } from './aws/provider.ts';
import { azureProvider } from './azure/provider.ts';
import type { Provider, ProviderSettings } from './driver.ts';
import { gcpProvider } from './gcp/provider.ts';

export const providers: Record<ProviderType, (settings: ProviderSettings) => Provider> = {
  aws: awsProvider,
  azure: azureProvider,
  gcp: gcpProvider,
};
