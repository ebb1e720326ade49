/** All that the role `sender` does: it alone holds the key that devices obey, and the authority that makes certificates for them. */
import type { SenderActivities } from '../../model/waves.ts';
import { createClaimActivities } from './claims.ts';
import type { DeviceDependencies } from './files.ts';
import { createIssuer } from './issuer.ts';
import { createRedirectActivities } from './redirects.ts';

/** `key`: the private one, 32 bytes in base64. `authority`: PEM; without one no certificates are made. */
export function createSenderActivities({
  key,
  authority,
  ...dependencies
}: DeviceDependencies & {
  key: string;
  authority?: { certificate: string; key: string } | undefined;
}): SenderActivities {
  const issuer = authority && createIssuer(authority);
  return {
    ...createRedirectActivities({ ...dependencies, key }),
    ...createClaimActivities({ ...dependencies, key, issuer }),
  };
}
