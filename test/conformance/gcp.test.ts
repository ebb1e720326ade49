import { cases } from './cases.ts';
import { dnsConformance, trafficConformance } from './dns.ts';
import { testProviders } from './providers.ts';
import { conformance } from './suite.ts';
import { tamperGcp } from './tamper-gcp.ts';

for (const { type, ...configurations } of cases)
  conformance(`gcp ${type}`, { ...testProviders.gcp, cloud: 'gcp', type, tamper: tamperGcp, ...configurations });
dnsConformance('gcp');
trafficConformance('gcp');
