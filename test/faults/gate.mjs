/**
 * Preloaded into a worker by the fault matrix: before and after each activity it asks the test that started it, over IPC,
 * and waits for the answer: `go`, or `hang`, which is never to be heard of again.
 */
import { createRequire } from 'node:module';

const { Worker } = createRequire(import.meta.url)('@temporalio/worker');
const waiting = new Map();
let questions = 0;
process.on('message', ({ id, answer }) => {
  waiting.get(id)?.(answer);
  waiting.delete(id);
});

async function pass(when, { info }) {
  const { activityType, attempt, workflowExecution, workflowType } = info;
  const id = ++questions;
  const answer = await new Promise((resolve) => {
    waiting.set(id, resolve);
    process.send({ id, when, activityType, attempt, workflowType, ...workflowExecution });
  });
  if (answer === 'hang') await new Promise(() => {});
}

const create = Worker.create;
Worker.create = (options) =>
  create.call(Worker, {
    ...options,
    interceptors: {
      activity: [
        (context) => ({
          inbound: {
            async execute(input, next) {
              await pass('before', context);
              const result = await next(input);
              await pass('after', context);
              return result;
            },
          },
        }),
      ],
    },
  });
