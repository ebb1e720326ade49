/** Where what was fetched waits to be taken. */
import { Inbox } from '../../activities/providers/telemetry.ts';

const batch = { messages: [], receipt: ['1'] };
const { signal } = new AbortController();

it('lets nobody wait longer than they wish, also where the clock lags behind the timers', async () => {
  const clock = Date.now;
  const now = Date.now();
  Date.now = () => now;
  try {
    expect(await new Inbox(1).take(20, signal)).toBeUndefined();
  } finally {
    Date.now = clock;
  }
}, 5000);

it('gives what it has at once, in order, and what comes while somebody waits', async () => {
  const inbox = new Inbox(2);
  const second = { ...batch, receipt: ['2'] };
  await inbox.put(batch);
  await inbox.put(second);
  expect(await inbox.take(0, signal)).toBe(batch);
  expect(await inbox.take(0, signal)).toBe(second);
  expect(await inbox.take(0, signal)).toBeUndefined();
  const taken = inbox.take(5000, signal);
  await inbox.put(batch);
  expect(await taken).toBe(batch);
});

it('tells whoever takes next what went wrong, once, and gives what it still has after it was closed', async () => {
  const inbox = new Inbox(1);
  inbox.fail(new Error('gone'));
  await expect(inbox.take(5000, signal)).rejects.toThrow('gone');
  await inbox.put(batch);
  inbox.close();
  expect(await inbox.take(5000, signal)).toBe(batch);
  expect(await inbox.take(5000, signal)).toBeUndefined();
});
