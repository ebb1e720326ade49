/** What the runner leaves to others: tests and hooks that take longer than they may, rejections that nobody waits for, errors without a stack. */
import { inspect } from 'node:util';
import { addEventHandler, getState } from 'jest-circus';

/** Of those that ask for no time of their own. */
const longestMs = 120_000;

const unhandled = new Map<Promise<unknown>, unknown>();
process.on('unhandledRejection', (reason, promise) => unhandled.set(promise, reason));
process.on('rejectionHandled', (promise) => unhandled.delete(promise));

async function nobodyElse(): Promise<void> {
  // Whoever waits for it may come a turn later.
  await new Promise((resolve) => setImmediate(resolve));
  const [reason] = unhandled.values();
  const count = unhandled.size;
  unhandled.clear();
  if (count > 0) throw reason;
}

addEventHandler((event) => {
  const { children, hooks } = getState().currentDescribeBlock;
  const added = event.name === 'add_test' ? children.at(-1) : event.name === 'add_hook' ? hooks.at(-1) : undefined;
  if (!added || added.type === 'describeBlock' || !added.fn) return;
  const act = added.fn as () => unknown;
  const ms = added.timeout ?? longestMs;
  added.fn = async () => {
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise((_, reject) => {
      timer = setTimeout(() => reject(new Error(`it took longer than ${ms} ms`)), ms);
    });
    try {
      await Promise.race([act(), late]);
      await nobodyElse();
    } catch (error) {
      throw error instanceof Error && error.stack ? error : new Error(`thrown: ${inspect(error)}`);
    } finally {
      clearTimeout(timer);
    }
  };
});
