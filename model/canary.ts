/** Which devices go ahead of a fleet: one of each group. Pure. */
import type { Device } from './fleet.ts';

/** What stands for the devices that are in no group. */
export const ungrouped = 'no group';

/**
 * A device that is in several groups stands for all of them. Where there are no groups, nobody goes ahead: the first wave does.
 * `silent`: groups of which nobody is awake.
 */
export function canariesOf(
  devices: readonly Pick<Device, 'id' | 'groups'>[],
  isAwake: (id: string) => boolean,
): { chosen: string[]; silent: string[] } {
  if (devices.every(({ groups }) => groups.length === 0)) return { chosen: [], silent: [] };
  const of = ({ groups }: Pick<Device, 'groups'>): readonly string[] => (groups.length > 0 ? groups : [ungrouped]);
  const silent = new Set(devices.flatMap(of));
  const chosen: string[] = [];
  for (const device of devices) {
    const groups = of(device);
    if (!groups.some((group) => silent.has(group)) || !isAwake(device.id)) continue;
    chosen.push(device.id);
    for (const group of groups) silent.delete(group);
  }
  return { chosen, silent: [...silent].sort() };
}
