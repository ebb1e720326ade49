import { appendFileSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Refusal } from '../../../emulators/azure/arm/accept.ts';
import { parseFilter } from '../../../emulators/azure/event-hubs/address.ts';
import type { EventHub } from '../../../emulators/azure/event-hubs/entities.ts';
import { PartitionLog } from '../../../emulators/azure/event-hubs/partition-log.ts';
import { HubProperties, hub, NamespaceProperties, namespace } from '../../../emulators/azure/event-hubs/rules.ts';
import { Streams } from '../../../emulators/azure/event-hubs/streams.ts';
import { publishedProperties } from './published.ts';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'event-hubs-'));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const text = (log: PartitionLog, sequence: number): string | undefined => {
  const entry = log.at(sequence);
  return entry && log.read(entry).toString();
};

describe('a partition', () => {
  it('holds every acknowledged message after a kill in the middle of a write', () => {
    const file = join(folder, '0.log');
    const log = new PartitionLog(file);
    for (const word of ['one', 'two', 'three']) log.append(() => Buffer.from(word));
    appendFileSync(file, Buffer.from([0, 0, 0, 99, 1, 2])); // the head of a message that never got whole
    const again = new PartitionLog(file);
    again.append(({ sequence }) => Buffer.from(`four is number ${sequence}`));
    const third = new PartitionLog(file);
    expect([0, 1, 2, 3, 4].map((sequence) => text(third, sequence))).toEqual([
      'one',
      'two',
      'three',
      'four is number 3',
      undefined,
    ]);
  });

  it('forgets what is older than its retention and goes on counting', () => {
    const log = new PartitionLog(join(folder, '0.log'));
    log.append(() => Buffer.from('old'));
    log.expire(Date.now() + 1);
    expect(log.empty).toBe(true);
    log.append(() => Buffer.from('new'));
    expect(log.firstSequence).toBe(1);
    expect(text(log, 0)).toBe('new'); // a reader that asks for what is gone gets the oldest that is kept
  });

  it('finds where a reader starts by offset, sequence number and time', () => {
    const log = new PartitionLog(join(folder, '0.log'));
    const entries = ['a', 'b', 'c'].map((word) => log.append(() => Buffer.from(word)));
    const from = (filter: string): number => {
      const start = parseFilter(`amqp.annotation.x-opt-${filter}`);
      if (start === undefined || start === 'latest') throw new Error(filter);
      return log.position(start);
    };
    expect(from("offset > '-1'")).toBe(0);
    expect(from(`offset > '${entries[0]?.offset}'`)).toBe(1);
    expect(from("sequence-number >= '2'")).toBe(2);
    expect(from("enqueued-time > '9999999999999'")).toBe(3);
    expect(parseFilter("amqp.annotation.x-opt-offset > '@latest'")).toBe('latest');
    expect(parseFilter('1 = 1')).toBeUndefined();
  });
});

it('messages of one key keep their order in one partition; all others take turns', () => {
  const streams = new Streams(folder);
  const target: EventHub = {
    id: 'h',
    host: 'n.servicebus.windows.net',
    name: 'h',
    partitions: 3,
    retentionMs: 60_000,
    createdMs: 0,
    consumerGroups: [],
    keys: [],
    localAuth: false,
    allows: () => false,
  };
  for (let n = 0; n < 6; n++) streams.append(target, [{ body: n }], { key: 'device-1' });
  const counts = (): number[] => [0, 1, 2].map((index) => (streams.log(target, index).last?.sequence ?? -1) + 1);
  expect(counts().toSorted()).toEqual([0, 0, 6]);
  for (let n = 0; n < 3; n++) streams.append(target, [{ body: n }], {});
  expect(counts().toSorted()).toEqual([1, 1, 7]);
  streams.close();
});

describe('ARM', () => {
  it.each([
    ['EHNamespace', NamespaceProperties],
    ['Eventhub', HubProperties],
  ])('knows exactly the properties of %s that the published definition knows', async (type, schema) => {
    const published = await publishedProperties('arm-eventhub', 'models', type, 'Serializer');
    expect(Object.keys(schema.shape).toSorted()).toEqual(published);
  });

  it('refuses what the service refuses', () => {
    const standard = namespace('mc-test-1', 'sub', { sku: { name: 'Standard', capacity: 2 } });
    expect(standard.properties).toMatchObject({ minimumTlsVersion: '1.2', disableLocalAuth: false });
    expect(() => namespace('x', 'sub', {})).toThrow(Refusal);
    expect(() => namespace('mc-test-1', 'sub', { properties: { bogus: 1 } })).toThrow('Unrecognized key');
    expect(() => hub('h', standard, { properties: { retentionDescription: { retentionTimeInHours: 169 } } })).toThrow(
      'exceeds the 168',
    );
    const made = hub('h', standard, { properties: { partitionCount: 4 } });
    expect(() => hub('h', standard, { properties: { partitionCount: 8 } }, made)).toThrow('cannot be changed');
    const inflating = { isAutoInflateEnabled: true, maximumThroughputUnits: 1 };
    expect(() => namespace('mc-test-1', 'sub', { properties: inflating }, standard)).toThrow('MaximumThroughputUnits');
  });
});
