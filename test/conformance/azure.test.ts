import { cases } from './cases.ts';
import { dnsConformance, trafficConformance } from './dns.ts';
import { testProviders } from './providers.ts';
import { conformance } from './suite.ts';

for (const { type, ...configurations } of cases)
  conformance(`azure ${type}`, { ...testProviders.azure, cloud: 'azure', type, ...configurations });
dnsConformance('azure');
trafficConformance('azure');
