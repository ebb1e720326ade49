/**
 * Preloaded into a worker by the fault matrix: before and after each activity it asks the test that started it, over IPC,
 * and waits for the answer: `go`, or `hang`, until after the longest time that the server waits for an activity which is silent;
 * then it gives its slot back, which on a bulk queue is the only one. `MULTI_CLOUD_GATE_RETRY_MS`: what fails in passing is tried
 * again so soon, and only once, so that a run that is held says so after seconds.
 */
import { createRequire } from 'node:module';
import { setTimeout } from 'node:timers/promises';

const { Worker } = createRequire(import.meta.url)('@temporalio/worker');
const { ApplicationFailure } = createRequire(import.meta.url)('@temporalio/common');
const retryMs = process.env.MULTI_CLOUD_GATE_RETRY_MS;
const waiting = new Map();
let questions = 0;
process.on('message', ({ id, answer }) => {
  waiting.get(id)?.(answer);
  waiting.delete(id);
});
// Whoever started it is gone.
process.on('disconnect', () => process.exit());

async function pass(when, { info }) {
  const { activityType, attempt, taskQueue, workflowExecution, workflowType } = info;
  const id = ++questions;
  const answer = await new Promise((resolve) => {
    waiting.set(id, resolve);
    process.send({ id, when, activityType, attempt, taskQueue, workflowType, ...workflowExecution });
  });
  if (answer !== 'hang') return;
  await setTimeout(45_000);
  throw new Error('nobody waits for it any more');
}

function soon(error, attempt) {
  if (retryMs === undefined || !(error instanceof ApplicationFailure) || error.nonRetryable) return error;
  error.nextRetryDelay ??= Number(retryMs);
  error.nonRetryable = error.type === 'Unavailable' && attempt > 1;
  return error;
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
              const result = await next(input).catch((error) => {
                throw soon(error, context.info.attempt);
              });
              await pass('after', context);
              return result;
            },
          },
        }),
      ],
    },
  });
