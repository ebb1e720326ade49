/** What a changing command shows and asks before it starts. */
import { createInterface } from 'node:readline/promises';
import { Exit, exitCodes } from './exit.ts';
import type { Session } from './session.ts';

/** Prints where the change will happen; asks unless `yes`. Without a terminal nobody can be asked. */
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
    ...Object.entries(accounts).map(([provider, account]) => `  ${provider.padEnd(9)} account ${account}`),
  ];
  if (!session.json) process.stderr.write(`${where.join('\n')}\n`);
  if (yes) return;
  if (!process.stdin.isTTY)
    throw new Exit(exitCodes.wrongUsage, 'Nobody can be asked here (no terminal): run it with --yes to go ahead.');
  const lines = createInterface({ input: process.stdin, output: process.stderr });
  const answer = await lines.question('Go ahead? [y/N] ');
  lines.close();
  if (!/^y(es)?$/i.test(answer.trim())) throw new Exit(exitCodes.failed, 'Nothing was changed.');
}

/** The account of each cloud that the estate uses, from its records. */
export async function recordedAccounts(session: Session): Promise<Record<string, string>> {
  const services = await session.estate.status();
  const records = await Promise.all(services.map(({ service }) => session.estate.service(service)));
  return Object.fromEntries(
    records.flatMap((record) => (record?.placements ?? []).map(({ provider, account }) => [provider, account])),
  );
}
