/**
 * How the programs reach Temporal: address, TLS and API key come from the environment or the profile file that Temporal's
 * own CLI reads (`TEMPORAL_ADDRESS`, `TEMPORAL_TLS_CLIENT_CERT_PATH`, `TEMPORAL_API_KEY`, `temporal.toml`), unless said
 * otherwise.
 */
import { readFileSync, unwatchFile, watchFile } from 'node:fs';
import type { ConnectionOptions } from '@temporalio/client';
import { type ClientConfigTLS, loadClientConfigProfile, toClientOptions } from '@temporalio/envconfig';
import { z } from 'zod';

/** What may be said in place of the environment and the profile. */
export const TemporalSettings = z.strictObject({
  address: z.string().optional(),
  namespace: z.string().optional(),
  /** Of Temporal's own configuration file, which also holds TLS and API keys; its environment names count as well. */
  profile: z.string().optional(),
  /** PEM files. With a certificate and its key the program proves who it is (mTLS). */
  tls: z
    .strictObject({
      serverCa: z.string().optional(),
      clientCert: z.string().optional(),
      clientKey: z.string().optional(),
      /** Name in the server's certificate, where it is not the one that is connected to. */
      serverName: z.string().optional(),
    })
    .optional(),
  /** Holds the API key and nothing else; read again whenever it has changed. Default: `MULTI_CLOUD_API_KEY_FILE`. */
  apiKeyFile: z.string().optional(),
});
export type TemporalSettings = z.infer<typeof TemporalSettings>;

export interface TemporalAccess {
  address: string;
  namespace: string;
  /** TLS, API key and headers, as the SDK's client takes them; it asks for the key at each call. */
  connection: Pick<ConnectionOptions, 'tls' | 'metadata'> & { apiKey?: () => string };
  /** Where the API key is read from again. */
  apiKeyFile?: string | undefined;
}

export function temporalAccess(given: TemporalSettings): TemporalAccess {
  const { profile, apiKeyFile = process.env.MULTI_CLOUD_API_KEY_FILE } = given;
  const found = loadClientConfigProfile(profile === undefined ? {} : { profile });
  const tls = tlsOf(given.tls, found.tls);
  const apiKey = apiKeyFile === undefined ? found.apiKey : readApiKey(apiKeyFile);
  const { connectionOptions, namespace } = toClientOptions({
    ...found,
    ...(tls && { tls }),
    ...(apiKey !== undefined && { apiKey }),
  });
  const { address, tls: security, metadata } = connectionOptions;
  return {
    address: given.address ?? address ?? '127.0.0.1:7233',
    namespace: given.namespace ?? namespace ?? 'default',
    connection: {
      ...(security !== undefined && { tls: security }),
      ...(metadata && { metadata }),
      ...(apiKey !== undefined && { apiKey: () => (apiKeyFile === undefined ? apiKey : readApiKey(apiKeyFile)) }),
    },
    apiKeyFile,
  };
}

function tlsOf(given: TemporalSettings['tls'], found: ClientConfigTLS | undefined): ClientConfigTLS | undefined {
  const { serverCa, clientCert, clientKey, serverName } = given ?? {};
  const tls = {
    ...found,
    ...(serverCa && { serverCACert: { path: serverCa } }),
    ...(clientCert && { clientCert: { path: clientCert } }),
    ...(clientKey && { clientKey: { path: clientKey } }),
    ...(serverName && { serverName }),
  };
  // The SDK would connect without a certificate, and be refused for reasons that do not name this one.
  if (!tls.clientCert !== !tls.clientKey)
    throw new Error(
      `Temporal's TLS has a client ${tls.clientCert ? 'certificate without its key' : 'key without its certificate'}; both are needed: tls.clientCert and tls.clientKey, or TEMPORAL_TLS_CLIENT_CERT_PATH and TEMPORAL_TLS_CLIENT_KEY_PATH`,
    );
  return found || given ? tls : undefined;
}

export function readApiKey(file: string): string {
  const key = readFileSync(file, 'utf8').trim();
  if (!/^[\x21-\x7e]+$/.test(key)) throw new Error(`${file} must hold one API key and nothing else`);
  return key;
}

/**
 * Tells a worker's connection, which keeps the key it was made with, of every new one. Until the answer is called.
 * `everyMs`: how often the file is looked at. A file that is being replaced is read at the next look.
 */
export function followApiKey(
  file: string,
  connection: { setApiKey(key: string): Promise<void> },
  everyMs = 10_000,
): () => void {
  const listener = (): void => {
    try {
      connection.setApiKey(readApiKey(file)).catch(() => {}); // closed meanwhile
    } catch {
      // not there, or half written: the old key stays
    }
  };
  watchFile(file, { interval: everyMs, persistent: false }, listener);
  return () => unwatchFile(file, listener);
}
