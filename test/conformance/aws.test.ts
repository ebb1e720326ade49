import { readFileSync } from 'node:fs';
import { awsProvider } from '../../activities/providers/aws/provider.ts';
import { localStack } from '../local.ts';
import { cases } from './cases.ts';
import { conformance } from './suite.ts';

for (const type of ['storage', 'data_lake', 'compute', 'iot_core'] as const)
  conformance(`AWS ${type}`, {
    provider: () => {
      const { credentials, deviceCa } = localStack();
      return awsProvider({
        name: 'aws',
        region: 'us-west-2',
        credentials: {
          access_key_id: credentials.AWS_ACCESS_KEY_ID,
          secret_access_key: credentials.AWS_SECRET_ACCESS_KEY,
        },
        deviceCa: readFileSync(deviceCa, 'utf8'),
        pollMs: 25,
      });
    },
    type,
    region: 'us-west-2',
    account: '000000000000',
    ...cases[type],
  });
