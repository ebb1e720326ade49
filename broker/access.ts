/** What a device may do: publish its own telemetry and state, receive its own commands and configuration. Nothing else. */

const own = (id: string, channel: string): string => `devices/${id}/${channel}`;

const within = (topic: string, root: string): boolean => topic === root || topic.startsWith(`${root}/`);

export type Channel = 'telemetry' | 'state';

/** The channel that a publish of this device goes to, or undefined where it may not publish. */
export function publishChannel(id: string, topic: string): Channel | undefined {
  if (within(topic, own(id, 'telemetry'))) return 'telemetry';
  return topic === own(id, 'state') ? 'state' : undefined;
}

/** Where a device hears its desired state. */
export const configurationTopic = (id: string): string => own(id, 'config');

/** A filter may hold wildcards only below the device's own commands, so it never matches another device's. */
export function maySubscribe(id: string, filter: string): boolean {
  return filter === configurationTopic(id) || within(filter, own(id, 'commands'));
}
