import { cases } from './cases.ts';
import { dnsConformance } from './dns.ts';
import { testProviders } from './providers.ts';
import { conformance } from './suite.ts';
import { bareAws, tamperAws } from './tamper-aws.ts';

const own = { cloud: 'aws', tamper: tamperAws, bare: bareAws } as const;
for (const { type, ...configurations } of cases)
  conformance(`aws ${type}`, { ...testProviders.aws, ...own, type, ...configurations });
dnsConformance('aws');
