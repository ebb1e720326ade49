import type { Listener } from '../local-cloud.ts';

/** Given as JSON in the environment variable GATEWAY. */
export interface GatewaySettings {
  /** First of its 127.0.0.1 ports: the control API, then one for each port that clients ask for. */
  port: number;
  /** Folder with `ca.pem` and `ca.key`. */
  certificates: string;
  /** The connection map file that it writes. */
  network: string;
  /** Folder for the state of each local cloud, by its name. */
  state: string;
  /** Milliseconds added to each call. */
  latencyMs: number;
  /** What each local cloud announced. */
  clouds: Record<string, Listener[]>;
}
