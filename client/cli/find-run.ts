/** From what a person types to one run: a workflow ID, a service name, or nothing where only one thing waits. */
import type { OperationHandle } from '../index.ts';
import { Exit, exitCodes } from './exit.ts';
import type { Session } from './session.ts';

export async function findRun(session: Session, id: string | undefined): Promise<OperationHandle> {
  const { estate } = session;
  if (id?.includes('/')) return estate.handle(id);
  const query = `ExecutionStatus = "Running" AND Estate = "${estate.name}" AND WorkflowType IN ("deployEstate", "deployService", "removeService")`;
  const running: { workflowId: string; service: unknown }[] = [];
  for await (const { workflowId, searchAttributes } of estate.temporal.workflow.list({ query }))
    running.push({ workflowId, service: searchAttributes.ServiceName?.[0] });
  const matching =
    id === undefined ? running : running.filter(({ workflowId, service }) => service === id || workflowId === id);
  // A child has the ID of its parent's run in it and is followed through it.
  const waiting = matching.length > 1 ? await onlyWaiting(session, matching) : matching;
  const [one, ...others] = waiting;
  if (one && others.length === 0) return estate.handle(one.workflowId);
  const list = (waiting.length > 0 ? waiting : running).map(({ workflowId }) => `  ${workflowId}`);
  throw new Exit(
    exitCodes.wrongUsage,
    list.length === 0 ? 'No operation runs.' : `Say which run is meant, by its workflow ID:\n${list.join('\n')}`,
  );
}

async function onlyWaiting(session: Session, runs: { workflowId: string; service: unknown }[]): Promise<typeof runs> {
  const waits = await Promise.all(
    runs.map(async ({ workflowId }) => (await session.estate.handle(workflowId).progress()).waitingFor.length > 0),
  );
  const waiting = runs.filter((_, at) => waits[at]);
  return waiting.length > 0 ? waiting : runs;
}
