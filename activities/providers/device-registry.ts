/**
 * The device registry of one `iot_core` placement, for whoever moves a fleet. Drivers are thin: they list, look up, register
 * and remove, each in as few calls as the cloud allows, in the words of `model/fleet.ts`. Rates, repeats, files and judgements
 * are above them, in `activities/devices/`.
 */
import type { Device, DeviceTexts, FleetField } from '../../model/fleet.ts';

/**
 * Makes one HTTP request: waits for its turn, repeats what was throttled or lost, and lets a failure leave as a `CloudError`.
 * A request that is repeated may have taken effect before. `resource`: what the call is about.
 */
export type Ask = <T>(operation: string, resource: string, request: () => Promise<T>) => Promise<T>;

/**
 * What became of a device that was to be registered. `moved`: by the copy with this mark, now or in an earlier attempt.
 * `there`: the same was registered before. `differs`: something else stands under its ID; `fields` is empty where that is no
 * device of this placement. `failed`: refused, in the cloud's own word for it.
 */
export type Put =
  | { how: 'moved' }
  | { how: 'there' }
  | { how: 'differs'; fields: readonly FleetField[] }
  | { how: 'failed'; why: string };

export interface DevicePage {
  devices: Device[];
  /** Token of the page after this one. */
  next: string | undefined;
}

/** A device as it stands, for whoever keeps registries in step. */
export interface StandingDevice {
  device: Device;
  /** What a copy has left beside it. */
  known: Readonly<Record<string, string>>;
  /** ISO time of the last change that the cloud has kept the time of. */
  modified: string;
  /** The version that it had when a copy began to change it and did not end; undefined where it is whole. */
  begun: string | undefined;
}

export interface ListedDevice {
  id: string;
  /** Another one after each change; undefined where only a look tells. */
  tag: string | undefined;
  look(): Promise<StandingDevice | undefined>;
}

/** What stood there when it was looked at, and the version that this was. */
export interface Over {
  standing: StandingDevice;
  version: string;
}

/**
 * The devices of a placement as a side that is kept in step with others. What is written is written over what was looked at, under
 * the conditions that the cloud has; where that takes several calls the device is begun until the last one. Throws "precondition
 * failed" where something else stands there by now.
 */
export interface StandingDevices {
  /** Whether `modified` is of the last change of any kind. */
  readonly dated: boolean;
  /** Bytes that `known` may take, names included. */
  readonly knownBytes: number;
  list(token: string | undefined): Promise<{ devices: ListedDevice[]; next: string | undefined }>;
  find(id: string): Promise<StandingDevice | undefined>;
  /** A device that `judgeDevice` lets through; of what stands there stays what replication does not carry. */
  write(device: Device, known: Readonly<Record<string, string>>, over: Over | undefined): Promise<StandingDevice>;
  drop(over: Over): Promise<void>;
}

export interface DeviceRegistry {
  readonly standing: StandingDevices;
  /** A page of the registry, in an order that stays while devices come and go; from the beginning without a token. */
  page(token: string | undefined): Promise<DevicePage>;
  /** Devices per call of `put` and `remove` that share requests; 1 where each has its own. */
  readonly atOnce: number;
  /**
   * Registers devices that `judgeDevice` lets through, at most `atOnce`, and marks them as copies. What exists is never
   * changed, but for what an earlier attempt with the same mark has begun. Answers in the order of the devices.
   */
  put(devices: readonly Device[], mark: string): Promise<Put[]>;
  /** Removes those that bear the mark, begun ones included, at most `atOnce` at a time; tells how many it has removed. */
  remove(devices: readonly Device[], mark: string): Promise<number>;
  /** Puts these texts into the desired state of a device, and takes away those that are null; false where there is no such device. */
  tell(id: string, texts: DeviceTexts): Promise<boolean>;
}
