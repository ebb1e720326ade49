/** From what a person types to one run: a workflow ID, a service name, or nothing where only one thing is meant. */
import { printable } from '../../model/text.ts';
import type { OperationHandle } from '../index.ts';
import { Exit, exitCodes } from './exit.ts';
import type { Session } from './session.ts';

interface Found {
  workflowId: string;
  service: unknown;
}

const operations =
  '("deployEstate", "deployService", "migrateService", "removeService", "recoverService", "steerService", "rebuildEstate")';

/** Runs for as long as it is not told to stop: it is meant only where nothing else is. */
const standing = '("replicateService")';

/** `ended`: where nothing runs, the last run that did is meant. */
export async function findRun(
  session: Session,
  id: string | undefined,
  { ended = false } = {},
): Promise<OperationHandle> {
  const { estate } = session;
  if (id?.includes('/')) return estate.handle(id);
  if (id !== undefined) {
    const holder = (await estate.service(id))?.holder;
    if (holder) return estate.handle(holder.workflowId);
  }
  const running = await runs(session, 'ExecutionStatus = "Running"');
  const isMeant = (one: Found) => id === undefined || one.service === id || one.workflowId === id;
  const matching = running.filter(isMeant);
  if (matching.length === 0)
    matching.push(...(await runs(session, 'ExecutionStatus = "Running"', standing)).filter(isMeant));
  const meant = matching.length > 1 ? await onlyWaiting(session, matching) : matching;
  const [one, ...others] = meant;
  if (one && others.length === 0) return estate.handle(one.workflowId);
  if (others.length > 0) throw ambiguous('Say which run is meant, by its workflow ID:', meant);
  if (ended) {
    const past = await runs(
      session,
      id === undefined ? 'ExecutionStatus != "Running"' : `ServiceName = "${quoted(id)}"`,
    );
    const last = past.find(({ service }) => id === undefined || service === id);
    if (last) return estate.handle(last.workflowId);
  }
  if (id !== undefined && (await exists(session, id))) return estate.handle(id);
  throw running.length === 0
    ? new Exit(
        exitCodes.wrongUsage,
        `No operation runs${id === undefined ? '' : `, and none of "${printable(id)}" is known`}. What runs where: npx multi-cloud status`,
        'InvalidInput',
      )
    : ambiguous(`No operation on "${id}" runs. What runs:`, running);
}

const quoted = (text: string): string => text.replace(/["\\]/g, '');

const ambiguous = (what: string, found: readonly Found[]): Exit =>
  new Exit(
    exitCodes.wrongUsage,
    [what, ...found.map(({ workflowId }) => `  ${workflowId}`)].join('\n'),
    'InvalidInput',
  );

/** Operations of the estate, the latest first. Children are reached through the run that started them. */
async function runs({ estate }: Session, which: string, types = operations): Promise<Found[]> {
  const query = `${which} AND Estate = "${quoted(estate.name)}" AND WorkflowType IN ${types}`;
  const found: Found[] = [];
  for await (const { workflowId, searchAttributes, parentExecution } of estate.temporal.workflow.list({ query })) {
    if (!parentExecution) found.push({ workflowId, service: searchAttributes.ServiceName?.[0] });
    if (found.length === 200) break;
  }
  return found;
}

/** Runs that others have started from the UI have IDs of any shape. */
async function exists({ estate }: Session, workflowId: string): Promise<boolean> {
  return estate.temporal.workflow
    .getHandle(workflowId)
    .describe()
    .then(
      () => true,
      () => false,
    );
}

async function onlyWaiting(session: Session, all: readonly Found[]): Promise<readonly Found[]> {
  const waits = await Promise.all(
    all.map(async ({ workflowId }) =>
      session.estate
        .handle(workflowId)
        .progress()
        .then(
          ({ waitingFor }) => waitingFor.length > 0,
          () => false,
        ),
    ),
  );
  const waiting = all.filter((_, at) => waits[at]);
  return waiting.length > 0 ? waiting : all;
}
