/** The table of clouds. A new one is a line here and a folder beside it; a worker loads only those it serves. */
import type { ProviderType } from '../../model/service.ts';
import type { Provider, ProviderSettings } from './driver.ts';

export const providers: Record<ProviderType, (settings: ProviderSettings) => Promise<Provider>> = {
  aws: async (settings) => (await import('./aws/provider.ts')).awsProvider(settings),
  azure: async (settings) => (await import('./azure/provider.ts')).azureProvider(settings),
  gcp: async (settings) => (await import('./gcp/provider.ts')).gcpProvider(settings),
};
