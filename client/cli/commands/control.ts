/** Commands for one run: watch, audit, retry, undo, cancel. */
import { Command } from 'commander';
import pc from 'picocolors';
import { printable } from '../../../model/text.ts';
import type { OperationHandle } from '../../index.ts';
import { confirm } from '../confirm.ts';
import { Exit, exitCodes } from '../exit.ts';
import { findRun } from '../find-run.ts';
import { follow } from '../follow.ts';
import { defaultName, type GlobalOptions, inSession, print, printEvent, printJson, type Session } from '../session.ts';
import { resultText } from '../tables.ts';

interface Options extends GlobalOptions {
  by: string;
  wait?: boolean;
  yes?: boolean;
  compensation?: boolean;
  verify?: boolean;
}

const forRun = (name: string, what: string, example: string): Command =>
  new Command(name)
    .description(what)
    .argument('[id]', 'workflow ID, or a service; nothing where only one run is meant')
    .option('--by <name>', 'your name; shown as UNVERIFIED', defaultName())
    .addHelpText('after', `\nExample:\n  npx multi-cloud ${example}`);

const acting = (
  command: Command,
  act: (session: Session, handle: OperationHandle, options: Options) => Promise<void>,
  which: { ended?: boolean } = {},
): Command =>
  command.action((id: string | undefined, _: unknown, self: Command) =>
    inSession(self, async (session) =>
      act(session, await findRun(session, id, which), self.optsWithGlobals<Options>()),
    ),
  );

export const watch = (): Command =>
  acting(
    forRun('watch', 'follows a run until it ends', 'watch deploy-estate/multi-cloud').option(
      '--wait',
      'stay when it waits for a person or is blocked',
    ),
    async (session, handle, { wait }) => {
      const result = await follow(session, handle, { wait });
      if (session.json) printEvent({ event: 'result', ...result });
      else print(resultText(result));
    },
  );

export const audit = (): Command =>
  acting(
    forRun(
      'audit',
      'who did or decided what, when, to which resource, in one run',
      'audit deploy-estate/multi-cloud',
    ).option(
      '--verify',
      'judge the trail that the records buckets keep: exit 1 where a line was changed, dropped or moved',
    ),
    async (session, handle, { verify }) => {
      if (verify) return verifyTrail(session, handle);
      const entries = await handle.audit();
      if (session.json) printJson(entries);
      else
        for (const { at, who, what, resource } of entries)
          print(`${at}  ${printable(who)}  ${printable(what)}${resource ? `  ${printable(resource)}` : ''}`);
    },
    { ended: true },
  );

async function verifyTrail({ estate, json }: Session, { workflowId }: OperationHandle): Promise<void> {
  const verdict = await estate.verifyAudit(workflowId);
  const kept = verdict.buckets.filter(({ lines }) => lines > 0);
  if (json) printJson(verdict);
  else
    for (const { bucket, lines, complete, broken, problem } of verdict.buckets)
      if (problem) print(`${pc.yellow('?')} ${bucket}: ${printable(problem)}`);
      else if (broken) print(`${pc.red('✘')} ${bucket}: line ${broken.seq}: ${broken.why}`);
      else if (lines > 0)
        print(
          `${pc.green('✔')} ${bucket}: ${lines} lines${complete ? '' : ', without the last one: the run is still at work, or its end was cut off'}`,
        );
  if (kept.length === 0)
    throw new Exit(
      exitCodes.failed,
      `No records bucket has a trail of ${workflowId}: it changed nothing in a cloud.`,
      'IntegrityMismatch',
    );
  if (kept.some(({ broken }) => broken)) throw new Exit(exitCodes.failed);
}

export const retry = (): Command =>
  acting(
    forRun('retry', 'lets a blocked run look again at once', 'retry deploy/multi-cloud/compute').option(
      '--compensation',
      'of a run that is parked because something could not be undone',
    ),
    async (session, handle, { by, compensation }) => {
      if (compensation) await handle.retryCompensation(by);
      else await handle.retryStep(by);
      said(session, handle, 'asked');
    },
  );

export const abandon = (): Command =>
  acting(
    forRun(
      'abandon',
      'lets a parked run give up what it cannot undo: the result lists what is left behind',
      'abandon deploy/multi-cloud/compute',
    ),
    async (session, handle, { by }) => {
      await handle.abandonCompensation(by);
      said(session, handle, 'asked');
    },
  );

export const pause = (): Command =>
  acting(
    forRun('pause', 'lets what is under way end, and begins nothing new', 'pause deploy/multi-cloud/compute'),
    async (session, handle, { by }) => {
      await handle.pause(by);
      said(session, handle, 'asked to pause');
    },
  );

export const resume = (): Command =>
  acting(
    forRun('resume', 'lets a paused run go on', 'resume deploy/multi-cloud/compute'),
    async (session, handle, { by }) => {
      await handle.resume(by);
      said(session, handle, 'asked to go on');
    },
  );

export const undo = (): Command =>
  acting(
    forRun('undo', 'lets a run take back what it has done, and end', 'undo deploy-estate/multi-cloud').option(
      '-y, --yes',
      'do not ask',
    ),
    async (session, handle, { by, yes }) => {
      await confirm(session, `Undo ${handle.workflowId}`, yes);
      await handle.undo(by);
      said(session, handle, 'asked to undo');
    },
  );

export const cancel = (): Command =>
  acting(
    forRun(
      'cancel',
      'cancels a run: it takes back what it has done and ends Cancelled',
      'cancel deploy-estate/multi-cloud',
    ).option('-y, --yes', 'do not ask'),
    async (session, handle, { yes }) => {
      await confirm(session, `Cancel ${handle.workflowId}`, yes);
      await handle.cancel();
      said(session, handle, 'asked to cancel');
    },
  );

function said({ json }: Session, { workflowId }: OperationHandle, what: string): void {
  if (json) printJson({ workflowId, asked: true });
  else print(`${workflowId}: ${what}.\n  follow: npx multi-cloud watch ${workflowId}`);
}
