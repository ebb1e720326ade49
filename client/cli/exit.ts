/** How a command ends: the exit codes of the contract, and what each kind of failure means in them. */
import { printable } from '../../model/text.ts';
import { OperationFailed } from '../operation-handle.ts';

export const exitCodes = {
  done: 0,
  failed: 1,
  wrongUsage: 2,
  waiting: 3,
  blocked: 4,
  undone: 5,
  unreachable: 6,
} as const;

/** Ends the command with a message for people and this code. */
export class Exit extends Error {
  readonly code: number;
  /** The error type of the contract, for programs; '' where they have been told by a document already. */
  readonly type: string;
  /** What programs get besides: the bare message, the result of a run that was undone, what it waits for. */
  readonly details: { message?: string; [key: string]: unknown };

  constructor(code: number, message = '', type = '', details: { message?: string; [key: string]: unknown } = {}) {
    super(message);
    this.code = code;
    this.type = type;
    this.details = details;
  }
}

/** Types of a run that somebody ended on purpose: what it had done was taken back. */
const undoneOnPurpose = ['Cancelled', 'UndoRequested', 'ApprovalRejected', 'ApprovalExpired'];
const wrongInput = ['InvalidInput', 'ServiceNotFound'];

/** A failed run. `tookBack`: it had begun to act, and its steps were undone; a refusal had nothing to undo. */
export function failed({ type, message, result }: OperationFailed, tookBack = false): Exit {
  const text = `${type}: ${printableLines(message)}`;
  const details = { message, ...(result && { result }) };
  if (wrongInput.includes(type)) return new Exit(exitCodes.wrongUsage, text, type, details);
  const orphans = (result?.orphans ?? []).map(
    ({ provider, name, reason }) => `  left behind: ${printable(`${provider} ${name}: ${reason}`)}`,
  );
  if (orphans.length > 0)
    return new Exit(exitCodes.failed, [text, 'Not everything could be undone:', ...orphans].join('\n'), type, details);
  if (!tookBack && !undoneOnPurpose.includes(type)) return new Exit(exitCodes.failed, text, type, details);
  return new Exit(exitCodes.undone, `${text}\nWhat the run had done was taken back.`, type, details);
}

/** gRPC codes of a server that does not answer (DEADLINE_EXCEEDED, UNAVAILABLE), and others that people can act on. */
const grpc = { silent: [4, 14], notFound: 5, refused: [7, 16] } as const;

export const unreachable = (address: string): Exit =>
  new Exit(
    exitCodes.unreachable,
    `Temporal is not reachable at ${address}. Start the local one with \`npm start\` (or \`npx multi-cloud local up\`), or name another with --address.`,
    'Unreachable',
  );

/** A server that answers what it has in memory and can write nothing says "shard status unknown", or nothing at all. */
export const cannotWrite = (address: string): Exit =>
  new Exit(
    exitCodes.unreachable,
    `Temporal at ${address} answers, but carries nothing out: most likely the disk of its database is full. Look at its log and its disk and make room; what runs goes on by itself.`,
    'Unreachable',
  );

/** Anything that was thrown, as what it means for the person at the terminal. */
export function explain(error: unknown, { address, namespace }: { address: string; namespace: string }): Exit {
  if (error instanceof Exit) return error;
  if (error instanceof OperationFailed) return failed(error);
  const { names, message, code } = seen(error);
  if (/no poller seen/i.test(message))
    return new Exit(
      exitCodes.failed,
      'No worker answers. Start one (npx multi-cloud local up, or npx multi-cloud worker) and try again; npx multi-cloud doctor says what is missing.',
      'NoWorker',
    );
  if (/namespace not found|namespace .* is not found/i.test(message))
    return new Exit(
      exitCodes.wrongUsage,
      `There is no namespace ${namespace} at ${address}. Name another with --namespace.`,
      'InvalidInput',
    );
  if (names.includes('WorkflowNotFoundError') || code === grpc.notFound)
    return new Exit(exitCodes.wrongUsage, 'There is no such run. What runs: npx multi-cloud status', 'InvalidInput');
  if (grpc.refused.some((one) => one === code))
    return new Exit(exitCodes.failed, `Temporal at ${address} refuses access.`, 'PermissionDenied');
  if (names.includes('TransportError') || grpc.silent.some((one) => one === code)) return unreachable(address);
  return new Exit(exitCodes.failed, printableLines(message), 'Failed');
}

/** Names and message of an error and of what caused it; the SDK wraps what the server said. */
function seen(error: unknown): { names: string[]; message: string; code: number | undefined } {
  const names: string[] = [];
  let message = String(error);
  let code: number | undefined;
  for (let at: unknown = error; at instanceof Error; at = at.cause) {
    names.push(at.name);
    message = at.message;
    if ('code' in at && typeof at.code === 'number') code = at.code;
  }
  return { names, message, code };
}

export const printableLines = (text: string): string => text.split('\n').map(printable).join('\n');
