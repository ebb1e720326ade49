import { createPrivateKey, type KeyObject } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { Command } from 'commander';
import { printable } from '../../../model/text.ts';
import { OperationFailed, type OperationHandle } from '../../index.ts';
import { confirm, mustBeAsked } from '../confirm.ts';
import { Exit, exitCodes } from '../exit.ts';
import { findRun } from '../find-run.ts';
import { planText } from '../plan-text.ts';
import { defaultName, type GlobalOptions, inSession, print, printJson, type Session } from '../session.ts';

interface Options extends GlobalOptions {
  by: string;
  plan?: string;
  comment?: string;
  key?: string;
  yes?: boolean;
}

/** The options of every command that answers. */
const answering = (command: Command, example: string): Command =>
  command
    .option('--by <name>', 'your name; shown as UNVERIFIED', defaultName())
    .option('--plan <hex>', 'the 12 hex digits of the question; default: of what is shown and asked now')
    .option('--comment <text>', 'for the audit trail')
    .option('--key <file>', 'your Ed25519 private key in PEM: signs the answer')
    .option('-y, --yes', 'do not ask')
    .addHelpText(
      'after',
      `\nWith approvals.identity: signed only answers that a listed key has signed are obeyed. To make one, and to print what\nthe estate file lists as its key:\n  openssl genpkey -algorithm ed25519 -out ops-lead.pem\n  openssl pkey -in ops-lead.pem -pubout -outform DER | tail -c 32 | base64\n\nExample:\n  npx multi-cloud ${example} --by ops-lead --key ops-lead.pem`,
    );
const idArgument = ['[id]', 'workflow ID, or a service; nothing where only one run waits'] as const;

async function give(session: Session, answer: string, id: string | undefined, options: Options): Promise<void> {
  const { by, plan, comment, key: file, yes } = options;
  const key = file === undefined ? undefined : privateKey(file);
  const handle = await findRun(session, id);
  const [question] = (await handle.progress()).waitingFor;
  if (!question) throw new Exit(exitCodes.wrongUsage, `${handle.workflowId} waits for nobody.`, 'InvalidInput');
  if (mustBeAsked(yes) && !session.json) await showPlan(handle);
  await confirm(
    session,
    `${answer} "${question.question}" of ${handle.workflowId} as ${by}\n  ${printable(question.text)}`,
    yes,
  );
  const recorded = await handle
    .decide({ question: question.question, answer, by, plan: plan ?? question.plan, comment, key })
    .catch((error: unknown) => {
      throw error instanceof OperationFailed
        ? new Exit(exitCodes.wrongUsage, `Refused: ${printable(error.message)}`, error.type)
        : error;
    });
  if (session.json) printJson(recorded);
  else print(`Recorded: ${answer} by ${printable(recorded.by)}.\n  follow: npx multi-cloud watch ${handle.workflowId}`);
}

function privateKey(file: string): KeyObject {
  try {
    const key = createPrivateKey(readFileSync(file));
    if (key.asymmetricKeyType === 'ed25519') return key;
  } catch {
    // Said below: what cannot be read and what is no key have the same cure.
  }
  throw new Exit(
    exitCodes.wrongUsage,
    `--key: ${file} is no Ed25519 private key in PEM. Make one: openssl genpkey -algorithm ed25519 -out ${file}`,
    'InvalidInput',
  );
}

/** What the answer is about, in full. Runs without a plan have a question that stands for itself. */
async function showPlan(handle: OperationHandle): Promise<void> {
  const planned = await handle.plan().catch(() => undefined);
  if (planned) process.stderr.write(`${planText(planned)}\n\n`);
}

const yesOrNo = (answer: 'approve' | 'reject', what: string): Command =>
  answering(
    new Command(answer).description(what).argument(...idArgument),
    `${answer} deploy-estate/multi-cloud`,
  ).action((id: string | undefined, _: unknown, command: Command) =>
    inSession(command, (session) => give(session, answer, id, command.optsWithGlobals<Options>())),
  );

export const approve = () => yesOrNo('approve', 'answers what a run waits for with yes; shows it and asks first');
export const reject = () => yesOrNo('reject', 'answers what a run waits for with no: the run takes back what it did');
export const decide = () =>
  answering(
    new Command('decide')
      .description('answers a question that has other answers than yes and no')
      .argument('<answer>', 'one of those that the question names: retry, skip, continue, undo')
      .argument(...idArgument),
    'decide skip migrate/multi-cloud/firmware',
  ).action((answer: string, id: string | undefined, _: unknown, command: Command) =>
    inSession(command, (session) => give(session, answer, id, command.optsWithGlobals<Options>())),
  );
