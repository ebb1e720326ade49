/** What a changing command shows and asks before it starts. */
import { createInterface } from 'node:readline/promises';
import { printable } from '../../model/text.ts';
import { Exit, exitCodes } from './exit.ts';
import type { Session } from './session.ts';

/** Without a terminal nobody can be asked: said before anything is looked up. */
export function mustBeAsked(yes: boolean | undefined): boolean {
  if (yes) return false;
  if (!process.stdin.isTTY)
    throw new Exit(
      exitCodes.wrongUsage,
      'Nobody can be asked here (no terminal): run it with --yes to go ahead.',
      'InvalidInput',
    );
  return true;
}

/** One line typed by the person at the terminal. */
export async function ask(question: string): Promise<string> {
  const lines = createInterface({ input: process.stdin, output: process.stderr });
  const answer = await lines.question(question);
  lines.close();
  return answer.trim();
}

/** Prints where the change will happen; asks unless `yes`. */
export async function confirm(
  session: Session,
  what: string,
  yes: boolean | undefined,
  accounts: Record<string, string> = {},
): Promise<void> {
  const where = [
    `${what}`,
    `  estate    ${session.estate.name}`,
    `  Temporal  ${session.address}, namespace ${session.namespace}`,
    ...Object.entries(accounts).map(
      ([provider, account]) => `  ${printable(provider.padEnd(9))} account ${printable(account)}`,
    ),
  ];
  if (!session.json) process.stderr.write(`${where.join('\n')}\n`);
  if (!mustBeAsked(yes)) return;
  if (!/^y(es)?$/i.test(await ask('Go ahead? [y/N] ')))
    throw new Exit(exitCodes.failed, 'Nothing was changed.', 'Declined');
}

/** The account of each cloud that the estate uses, from its records. */
export async function recordedAccounts(session: Session): Promise<Record<string, string>> {
  const services = await session.estate.status();
  const records = await Promise.all(services.map(({ service }) => session.estate.service(service)));
  return Object.fromEntries(
    records.flatMap((record) => (record?.placements ?? []).map(({ provider, account }) => [provider, account])),
  );
}
