/**
 * What a local cloud is: one program (`emulators/<cloud>/main.ts`) that keeps its state in one folder and serves plain
 * HTTP or TCP on ports it is given. TLS, the cloud's real host names, latency and faults belong to the gateway before it.
 */

/** A listener of a local cloud, and the real host names it answers for. */
export interface Listener {
  /** For people: `iot`, `arm`, `gcs`. */
  name: string;
  /** Real host names, `*` for any characters: `*.blob.core.windows.net`. More specific ones of the same cloud come first. */
  hosts: string[];
  /** The port that clients ask for: 443 HTTPS, 8883 MQTT over TLS, 5671 AMQP over TLS. */
  port: 443 | 8883 | 5671;
  /**
   * `http`: the gateway ends TLS with a certificate for the asked host and forwards HTTP/1.1 with the Host header intact.
   * `tls`: the bytes go through untouched; the listener ends TLS itself (mutual TLS), with a certificate from `issueCertificate`.
   * `tcp`: the gateway ends TLS and forwards the bytes.
   */
  protocol: 'http' | 'tls' | 'tcp';
  /** 127.0.0.1 port on which the local cloud listens. */
  to: number;
}

/** Given as JSON in the environment variable LOCAL_CLOUD to each local cloud's main program. */
export interface LocalCloudSettings {
  /** Folder for all state; survives stop, start and kill -9. */
  state: string;
  /** First of the 127.0.0.1 ports it may listen on. */
  port: number;
  /** How many ports it may use. */
  ports: number;
  /** Folder with `ca.pem` and `ca.key` of the local certificate authority (`emulators/certificates.ts`). */
  certificates: string;
  /** How long a long-running operation takes, milliseconds. */
  operationMs: number;
  /** How long a deleted name stays taken where the real cloud holds it, milliseconds. */
  nameHeldMs: number;
  /** AWS account, Azure subscription, GCP project that exist. */
  account: string;
  /** How far its clock is ahead of the machine's, milliseconds. */
  clockMs?: number;
}

/** Port of a local cloud's name server, UDP and TCP: the last of its ports. */
export const dnsPort = ({ port, ports }: Pick<LocalCloudSettings, 'port' | 'ports'>): number => port + ports - 1;

/** A local cloud says that it is ready with one line on stdout: `ready <JSON of Listener[]>`. It ends on SIGTERM. */
export function announce(listeners: readonly Listener[]): void {
  process.stdout.write(`ready ${JSON.stringify(listeners)}\n`);
}

export function settingsFromEnvironment(): LocalCloudSettings {
  const text = process.env.LOCAL_CLOUD;
  if (!text)
    throw new Error('LOCAL_CLOUD is not set: a local cloud is started by `npm start` or `multi-cloud local up`');
  return JSON.parse(text) as LocalCloudSettings;
}
