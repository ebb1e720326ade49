import { setTimeout as sleep } from 'node:timers/promises';
import { Command, Option } from 'commander';
import { topologies } from '../../../model/replicate.ts';
import { printable } from '../../../model/text.ts';
import { OperationFailed, type ReplicationHandle } from '../../index.ts';
import { confirm, mustBeAsked, recordedAccounts } from '../confirm.ts';
import { Exit, exitCodes, failed } from '../exit.ts';
import { defaultName, type GlobalOptions, inSession, print, printEvent, printJson, type Session } from '../session.ts';
import { lagText } from '../tables.ts';

interface Options extends GlobalOptions {
  mode?: 'active-active' | 'active-passive';
  source?: string;
  topology?: (typeof topologies)[number];
  latencyThreshold?: number;
  maxDeletes?: number;
  rate?: number;
  stop?: boolean;
  detach?: boolean;
  wait?: boolean;
  yes?: boolean;
  by: string;
}

const lookMs = 1000;

export const replicate = (): Command =>
  new Command('replicate')
    .description(
      'keeps the placements of a service in step, whichever of them is written, and shows how far behind they are',
    )
    .argument('<service>', 'key of the service in the estate file')
    .addOption(
      new Option('--mode <mode>', "default: the file's replication.mode").choices(['active-active', 'active-passive']),
    )
    .option('--source <provider>', 'whose side takes the writes, with active-passive')
    .addOption(new Option('--topology <how>', 'how three and more are connected').choices([...topologies]))
    .option('--latency-threshold <ms>', 'a lag above it alerts', Number)
    .option('--max-deletes <n>', 'more in 10 minutes hold a direction and ask', Number)
    .option('--rate <n>', 'requests a second to each device registry; default: half of what it takes', Number)
    .option('--stop', 'end it; the objects stay where they are')
    .option('--detach', 'start it and leave')
    .option('--wait', 'stay when it waits for a person')
    .option('--by <name>', 'who asks, for the audit trail', defaultName())
    .option('-y, --yes', 'do not ask before it starts')
    .addHelpText(
      'after',
      '\nIt goes on until it is stopped; Ctrl-C leaves it running. What loses a conflict is kept in the records bucket of its cloud.\n\nExamples:\n  npx multi-cloud replicate data_lake\n  npx multi-cloud replicate firmware --mode active-passive --source aws\n  npx multi-cloud replicate data_lake --stop',
    )
    .action((service: string, _: unknown, command: Command) =>
      inSession(command, async (session) => {
        const { mode, source, topology, latencyThreshold, maxDeletes, rate, stop, detach, wait, yes, by } =
          command.optsWithGlobals<Options>();
        mustBeAsked(yes);
        const accounts = await recordedAccounts(session);
        if (stop) {
          await confirm(session, `Stop keeping ${service} in step`, yes, accounts);
          return stopped(session, session.estate.replication(service));
        }
        await confirm(session, `Keep the placements of ${service} in step`, yes, accounts);
        const handle = await session.estate.replicate({
          ...{ service, mode, source, topology, by },
          ...{ latency_threshold_ms: latencyThreshold, max_deletes: maxDeletes, callsPerSecond: rate },
        });
        if (!detach) return follow(session, handle, wait);
        if (session.json) printJson({ workflowId: handle.workflowId });
        else
          print(
            `${handle.joined ? 'Told' : 'Started'} ${handle.workflowId}\n  how far behind: npx multi-cloud replicate ${service}`,
          );
      }),
    );

async function stopped({ json }: Session, handle: ReplicationHandle): Promise<void> {
  await handle.cancel();
  await handle.result().catch((error: unknown) => {
    if (!(error instanceof OperationFailed) || error.type !== 'Cancelled') throw error;
  });
  if (json) printJson({ workflowId: handle.workflowId, outcome: 'stopped' });
  else print(`Stopped ${handle.workflowId}; the objects stay where they are.`);
}

/** Shows the lag whenever it changes, until the run ends, a person is needed, or Ctrl-C. */
async function follow({ json }: Session, handle: ReplicationHandle, wait: boolean | undefined): Promise<void> {
  let interrupted = false;
  process.once('SIGINT', () => {
    interrupted = true;
  });
  const end = handle.result().then(
    () => ({ error: undefined }),
    (error: unknown) => ({ error }),
  );
  const { workflowId } = handle;
  for (let last = ''; !interrupted; ) {
    const [lag, progress] = await Promise.all([handle.lag(), handle.progress()]).catch(() => []);
    const text = lag ? lagText(lag) : '';
    if (lag && text !== last) {
      if (json) printEvent({ event: 'lag', ...lag });
      else print(`${text}\n`);
    }
    last = text;
    const [asked] = progress?.waitingFor ?? [];
    if (asked && !wait)
      throw new Exit(
        exitCodes.waiting,
        `${printable(asked.text)}\n  answer: npx multi-cloud decide ${asked.answers.join('|')} ${workflowId}`,
        'Waiting',
        { workflowId, waitingFor: progress?.waitingFor },
      );
    const ended = await Promise.race([end, sleep(lookMs, undefined)]);
    if (!ended) continue;
    if (ended.error instanceof OperationFailed) throw failed(ended.error, false);
    if (ended.error) throw ended.error;
    return;
  }
  if (!json) print(`Detached; it goes on.\n  stop: npx multi-cloud cancel ${workflowId}`);
}
