/** What the data plane of IoT Hub needs to know of what was made through ARM. */
import type { EventHub } from '../event-hubs/entities.ts';

export type PolicyRight = 'RegistryRead' | 'RegistryWrite' | 'ServiceConnect' | 'DeviceConnect';

export interface Policy {
  name: string;
  primary: string;
  secondary: string;
  rights: readonly PolicyRight[];
}

export interface Route {
  name: string;
  enabled: boolean;
  /** Names of endpoints; `events` is the built-in one. */
  endpoints: readonly string[];
}

export interface IotHub {
  /** Never used twice: a hub made again under an old name starts empty. Letters, digits and `-`. */
  id: string;
  /** `<name>.azure-devices.net`. */
  host: string;
  name: string;
  policies: readonly Policy[];
  /** The hub takes shared access signatures of its policies. */
  localAuth: boolean;
  /** Devices may log in with their own symmetric keys. */
  deviceKeys: boolean;
  maxDevices: number;
  /** PEM of the CA certificates that were verified: devices of type `certificateAuthority` chain to one of them. */
  authorities: readonly string[];
  /** For device telemetry (source DeviceMessages), in order. */
  routes: readonly Route[];
  fallback: boolean;
  builtIn: EventHub;
  /** A custom endpoint's event hub, or undefined while it is missing or the hub may not send to it. */
  endpoint(name: string): EventHub | undefined;
  /** Whether role assignments on the hub or above let this principal (object ID) do a data action: `IotHubs/devices/read`. */
  allows(principal: string, action: string): boolean;
}

export interface HubDirectory {
  find(host: string): IotHub | undefined;
}
