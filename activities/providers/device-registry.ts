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

export interface DeviceRegistry {
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
