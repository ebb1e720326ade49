import { cases } from './cases.ts';
import { testProviders } from './providers.ts';
import { conformance } from './suite.ts';
import { tamperAws } from './tamper-aws.ts';

for (const { type, ...configurations } of cases)
  conformance(`aws ${type}`, { ...testProviders.aws, cloud: 'aws', type, tamper: tamperAws, ...configurations });
