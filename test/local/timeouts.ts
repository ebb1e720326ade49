/** What the runner leaves to others: it ends no test that takes longer than it may, and shows no error that has no stack. */
import { inspect } from 'node:util';
import { addEventHandler, getState } from 'jest-circus';

/** Of those that ask for no time of their own. */
const longestMs = 120_000;

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
    } catch (error) {
      throw error instanceof Error && error.stack ? error : new Error(`thrown: ${inspect(error)}`);
    } finally {
      clearTimeout(timer);
    }
  };
});
