import { cases } from './cases.ts';
import { dnsConformance, trafficConformance } from './dns.ts';
import { lettingNewbornsIn } from './newborns.ts';
import { testProviders } from './providers.ts';
import { conformance } from './suite.ts';
import { tamperGcp } from './tamper-gcp.ts';

for (const test of cases)
  conformance(`gcp ${test.type}`, {
    ...testProviders.gcp,
    ...{ cloud: 'gcp', tamper: tamperGcp },
    ...lettingNewbornsIn(test),
  });
dnsConformance('gcp');
trafficConformance('gcp');
