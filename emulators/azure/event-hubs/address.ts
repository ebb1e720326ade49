/** AMQP addresses of Event Hubs and the filter that says where a receiver starts. */
import type { Entry } from './partition-log.ts';

export interface Address {
  hub: string;
  consumerGroup?: string;
  partition?: number;
}

/** `hub`, `hub/Partitions/0`, `hub/ConsumerGroups/$Default/Partitions/0`, also as a whole URL. */
export function parseAddress(text: string): Address | undefined {
  const path = text.replace(/^amqps?:\/\/[^/]+\//, '');
  const match = /^([^/]+)(?:\/ConsumerGroups\/([^/]+))?(?:\/Partitions\/(\d+))?\/?$/i.exec(path);
  if (!match?.[1]) return undefined;
  return {
    hub: match[1],
    ...(match[2] === undefined ? {} : { consumerGroup: match[2] }),
    ...(match[3] === undefined ? {} : { partition: Number(match[3]) }),
  };
}

export type Start = 'latest' | ((entry: Entry) => boolean);

/** `amqp.annotation.x-opt-offset > '-1'` and its kin; undefined for what Event Hubs would refuse. */
export function parseFilter(text: string | undefined): Start | undefined {
  if (text === undefined) return () => true;
  const [, name, operator, value] =
    /^amqp\.annotation\.x-opt-(offset|sequence-number|enqueued-time)\s*(>=?)\s*'([^']*)'$/.exec(text.trim()) ?? [];
  if (!name || value === undefined) return undefined;
  if (value === '@latest') return 'latest';
  const bound = Number(value);
  if (!Number.isFinite(bound)) return undefined;
  const of = (entry: Entry): number =>
    name === 'offset' ? entry.offset : name === 'sequence-number' ? entry.sequence : entry.enqueuedMs;
  return (entry) => (operator === '>=' ? of(entry) >= bound : of(entry) > bound);
}
