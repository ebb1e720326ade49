/**
 * How the programs reach Temporal: address, TLS and API key come from the environment or the profile file that Temporal's
 * own CLI reads (`TEMPORAL_ADDRESS`, `TEMPORAL_TLS_CLIENT_CERT_PATH`, `TEMPORAL_API_KEY`, `temporal.toml`), unless said
 * otherwise.
 */
import { loadClientConnectConfig } from '@temporalio/envconfig';

export interface TemporalAccess {
  address: string;
  namespace: string;
  /** TLS and API key, as the SDK takes them. */
  connection: Omit<ReturnType<typeof loadClientConnectConfig>['connectionOptions'], 'address'>;
}

export function temporalAccess(given: {
  address?: string | undefined;
  namespace?: string | undefined;
  profile?: string | undefined;
}): TemporalAccess {
  const { connectionOptions, namespace } = loadClientConnectConfig(
    given.profile === undefined ? {} : { profile: given.profile },
  );
  const { address, ...connection } = connectionOptions;
  return {
    address: given.address ?? address ?? '127.0.0.1:7233',
    namespace: given.namespace ?? namespace ?? 'default',
    connection,
  };
}
