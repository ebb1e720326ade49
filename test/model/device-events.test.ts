/** What devices tell of themselves, what of it counts, and who goes ahead of a fleet. */
import { canariesOf } from '../../model/canary.ts';
import { deviceEvent, troublesOf } from '../../model/device-events.ts';

const bytes = (value: unknown): Uint8Array => new TextEncoder().encode(JSON.stringify(value));

describe('an event of a device', () => {
  it('is known among its messages, with what the cloud has added', () => {
    expect(deviceEvent(bytes({ event: 'reconnected', failed: 3, key: 'a/1/2', mqtt_client: 'a' }))).toEqual({
      event: 'reconnected',
      failed: 3,
    });
    expect(deviceEvent(bytes({ event: 'redirect-refused', reason: 'host', digest: 'd' }))).toMatchObject({
      reason: 'host',
    });
  });

  it.each([
    { temperature: 21 },
    { event: 'opened', door: 3 },
    { event: 'reconnected', failed: 'often' },
    { event: 'redirect-refused', reason: 'a mood' },
    { event: 'reconnected', failed: 1, log: 'x'.repeat(2000) },
  ])('is not what merely looks like one: %j', (message) => {
    expect(deviceEvent(bytes(message))).toBeUndefined();
  });

  it('is no text that is not JSON', () => {
    expect(deviceEvent(new TextEncoder().encode('{"event": '))).toBeUndefined();
    expect(deviceEvent(new Uint8Array([0xff, 0xfe]))).toBeUndefined();
  });

  it('counts the connections that went wrong, and no more of one message than one device may', () => {
    expect(troublesOf({ event: 'reconnected', failed: 3 })).toBe(3);
    expect(troublesOf({ event: 'reconnected', failed: 1e9 })).toBe(20);
    expect(troublesOf({ event: 'returned' })).toBe(1);
    expect(troublesOf({ event: 'redirect-refused', reason: 'signature' })).toBe(0);
  });
});

describe('a canary', () => {
  const fleet = [
    { id: 'a', groups: ['pumps'] },
    { id: 'b', groups: ['pumps', 'north'] },
    { id: 'c', groups: ['valves'] },
    { id: 'd', groups: [] },
  ];
  it('is one device of each group, awake; who is in several stands for all of them', () => {
    expect(canariesOf(fleet, () => true)).toEqual({ chosen: ['a', 'b', 'c', 'd'], silent: [] });
    expect(canariesOf(fleet, (id) => id !== 'a')).toEqual({ chosen: ['b', 'c', 'd'], silent: [] });
    expect(canariesOf(fleet.toReversed(), () => true).chosen).toEqual(['d', 'c', 'b']);
  });
  it('is none of a group of which nobody is awake, and none where there are no groups', () => {
    expect(canariesOf(fleet, (id) => id === 'b')).toEqual({ chosen: ['b'], silent: ['no group', 'valves'] });
    expect(canariesOf([{ id: 'd', groups: [] }], () => true)).toEqual({ chosen: [], silent: [] });
  });
});
