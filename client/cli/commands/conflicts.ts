/** What has lost conflicts between the sides of a replicated service: list looks, restore gives one back. */
import { Command } from 'commander';
import { Duration, durationMs } from '../../../model/duration.ts';
import { printable } from '../../../model/text.ts';
import type { Conflict, RestoreResult } from '../../index.ts';
import { columns } from '../columns.ts';
import { confirm, mustBeAsked, recordedAccounts } from '../confirm.ts';
import { Exit, exitCodes } from '../exit.ts';
import { follow } from '../follow.ts';
import { defaultName, type GlobalOptions, inSession, print, printEvent, printJson, type Session } from '../session.ts';

interface Options extends GlobalOptions {
  since?: string;
  to?: string;
  as?: string;
  wait?: boolean;
  yes?: boolean;
  by: string;
}

export const conflicts = (): Command =>
  new Command('conflicts')
    .description(
      'what has lost conflicts between the sides of a replicated service, with its bytes; restore gives one back',
    )
    .argument('<service>', 'key of the service in the estate file')
    .option('--since <time>', 'how far back: 2h, 3d, or an ISO time; default: a week')
    .addHelpText(
      'after',
      '\nA change that replaces another without having seen it is a conflict. What lost is kept in the records bucket of its side\nbefore it goes. A line may be of one that was spared after all.\n\nExamples:\n  npx multi-cloud conflicts data_lake --since 2h\n  npx multi-cloud conflicts restore data_lake 2026-11-28/1795827600000-aws-0123456789abcdef-01234567',
    )
    .action((service: string, _: unknown, command: Command) =>
      inSession(command, async (session) => {
        const since = sinceOf(command.optsWithGlobals<Options>().since);
        const { found, problems } = await everyPage(session, service, since);
        if (session.json) printJson({ service, conflicts: found, problems });
        else if (found.length === 0) print(`Nothing of ${printable(service)} has lost a conflict in that time.`);
        for (const { bucket, problem } of problems)
          process.stderr.write(`not read: ${printable(bucket)}: ${printable(problem)}\n`);
        if (problems.length > 0) throw new Exit(exitCodes.failed);
      }),
    )
    .addCommand(restore());

const restore = (): Command =>
  new Command('restore')
    .description('writes what lost back, as a change of now; what it replaces is logged in its turn')
    .argument('<service>', 'key of the service in the estate file')
    .argument('<id>', 'as the list shows it')
    .option('--to <provider>', 'the side that it is written on; default: the one that it was lost on')
    .option('--as <key>', 'another key than its own')
    .option('--wait', 'stay when it is blocked')
    .option('--by <name>', 'who asks, for the audit trail', defaultName())
    .option('-y, --yes', 'do not ask before it starts')
    .action((service: string, id: string, _: unknown, command: Command) =>
      inSession(command, async (session) => {
        const { to, as, wait, yes, by } = command.optsWithGlobals<Options>();
        mustBeAsked(yes);
        await confirm(session, `Restore ${id} of ${service}`, yes, await recordedAccounts(session));
        const handle = await session.estate.restoreConflict({ service, id, to, as, by });
        const result: RestoreResult = await follow(session, handle, { wait });
        if (session.json) return printEvent({ event: 'result', ...result });
        if (!result.restored) return;
        const { side, key, size, replaced } = result.restored;
        print(`Restored ${printable(key)} (${size} bytes) on ${side}.`);
        if (replaced) print(`What it replaced: npx multi-cloud conflicts restore ${service} ${replaced}`);
      }),
    );

function sinceOf(text: string | undefined): string | undefined {
  if (text === undefined) return undefined;
  if (Duration.safeParse(text).success) return new Date(Date.now() - durationMs(text)).toISOString();
  const at = Date.parse(text);
  if (Number.isFinite(at)) return new Date(at).toISOString();
  throw new Exit(
    exitCodes.wrongUsage,
    `--since must be a duration or a time, for instance 2h or 2026-11-28T09:00:00Z; found ${printable(text)}`,
    'InvalidInput',
  );
}

/** Page after page, the oldest first; for people they are printed as they come. */
async function everyPage(session: Session, service: string, since: string | undefined) {
  const found: Conflict[] = [];
  const problems = new Map<string, { bucket: string; problem: string }>();
  for (let after: string | undefined; ; ) {
    const page = await session.estate.conflicts({ service, since, after });
    for (const one of page.problems) problems.set(one.bucket, one);
    if (!session.json && page.conflicts.length > 0)
      print(
        columns(
          after === undefined ? ['lost', 'on', 'to a change of', 'on', 'bytes', 'key'] : [],
          page.conflicts.map(rowOf),
        ),
      );
    found.push(...page.conflicts);
    if (page.next === undefined) return { found, problems: [...problems.values()] };
    after = page.next;
  }
}

const rowOf = ({ id, key, lost, winner, size }: Conflict) => ({
  cells: [lost.at, lost.on, winner.at, winner.on, String(size), key],
  below: [id],
});
