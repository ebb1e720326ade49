/** Following a run until it ends, waits for a person, or is blocked; Ctrl-C detaches and leaves it running. */
import { createLogUpdate } from 'log-update';
import type { OperationResult } from '../../model/operations.ts';
import type { Progress } from '../../model/progress.ts';
import { printable } from '../../model/text.ts';
import { OperationFailed, type OperationHandle } from '../index.ts';
import { Exit, exitCodes } from './exit.ts';
import { print, printEvent, type Session } from './session.ts';
import { changedLines, render } from './tree.ts';

const lookEveryMs = 300;
const frameMs = 80;

interface FollowOptions {
  /** Stay when the run waits for a person or is blocked. */
  wait?: boolean | undefined;
}

export async function follow(
  session: Session,
  handle: OperationHandle,
  options: FollowOptions = {},
): Promise<OperationResult> {
  const { json } = session;
  const live = !json && process.stdout.isTTY;
  const update = live ? createLogUpdate(process.stdout) : undefined;
  const seen = new Map<string, string>();
  let picture: { progress: Progress; children: Progress[] } | undefined;
  const draw = () => {
    if (update && picture) update(render(picture.progress, picture.children, Date.now(), process.stdout.columns));
  };
  const frames = setInterval(draw, frameMs);
  let detach = () => {};
  const detached = new Promise<never>((_, reject) => {
    detach = () =>
      reject(
        new Exit(
          exitCodes.done,
          `Detached; the run goes on.\n  follow: npx multi-cloud watch ${handle.workflowId}\n  cancel: npx multi-cloud cancel ${handle.workflowId}`,
        ),
      );
  });
  process.once('SIGINT', detach);

  const watch = async (): Promise<void> => {
    let last = '';
    for (;;) {
      const running = await handle.isRunning();
      const progress = await handle.progress();
      const children = await Promise.all(
        progress.children.map(({ workflowId }) =>
          session.estate
            .handle(workflowId)
            .progress()
            .catch(() => undefined),
        ),
      );
      picture = { progress, children: children.filter((child) => child !== undefined) };
      const text = JSON.stringify(picture);
      if (text !== last && json) printEvent({ event: 'progress', ...progress, childProgress: picture.children });
      if (!live && !json)
        for (const line of changedLines(
          [progress, ...picture.children].flatMap(({ steps }) => steps),
          seen,
        ))
          print(line);
      last = text;
      if (!running) return;
      if (!options.wait) leaveIfHeld(handle, picture);
      await new Promise((resolve) => setTimeout(resolve, lookEveryMs));
    }
  };
  try {
    await Promise.race([watch(), detached]);
  } finally {
    clearInterval(frames);
    process.off('SIGINT', detach);
    draw();
    update?.done();
  }
  return await ended(handle);
}

function leaveIfHeld(
  handle: OperationHandle,
  { progress, children }: { progress: Progress; children: Progress[] },
): void {
  const [question] = progress.waitingFor;
  const again = `  follow: npx multi-cloud watch ${handle.workflowId}`;
  if (question)
    throw new Exit(
      exitCodes.waiting,
      `Waits for a person: ${printable(question.text)}\n  approve: npx multi-cloud approve ${handle.workflowId}\n  reject:  npx multi-cloud reject ${handle.workflowId}\n${again}`,
    );
  const blocked = [progress, ...children].find((one) => one.blocked !== undefined)?.blocked;
  if (blocked)
    throw new Exit(
      exitCodes.blocked,
      `Blocked: ${printable(blocked)}\nIt goes on by itself once that is repaired.\n  look at once: npx multi-cloud retry ${handle.workflowId}\n  take it back: npx multi-cloud undo ${handle.workflowId}\n${again}`,
    );
}

/** The result; a failure as the exit code that says how it ended. */
async function ended(handle: OperationHandle): Promise<OperationResult> {
  try {
    return await handle.result();
  } catch (error) {
    if (!(error instanceof OperationFailed)) throw error;
    throw failed(error);
  }
}

/** Refusals before anything was begun: there was nothing to undo. */
const refusals = [
  'Protected',
  'OperationInProgress',
  'Unplaceable',
  'NotSupported',
  'OverBudget',
  'ServiceNotFound',
  'ApprovalRejected',
  'ApprovalExpired',
];

export function failed(error: OperationFailed): Exit {
  const { type, message, result } = error;
  if (type === 'InvalidInput') return new Exit(exitCodes.wrongUsage, `${type}: ${printableLines(message)}`);
  if (refusals.includes(type)) return new Exit(exitCodes.failed, `${type}: ${printableLines(message)}`);
  const undone = type === 'Cancelled' || (result?.outcome === 'undone' && result.orphans.length === 0);
  const orphans =
    result?.orphans.map(
      ({ provider, name, reason }) => `  left behind: ${provider} ${printable(name)}: ${printable(reason)}`,
    ) ?? [];
  const end = undone ? 'Everything that the run had done was undone.' : 'Not everything could be undone:';
  return new Exit(
    undone ? exitCodes.undone : exitCodes.failed,
    [`${type}: ${printableLines(message)}`, end, ...orphans].join('\n'),
  );
}

const printableLines = (text: string): string => text.split('\n').map(printable).join('\n');
