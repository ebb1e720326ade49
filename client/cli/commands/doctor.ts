import { Command } from 'commander';
import pc from 'picocolors';
import { taskQueue } from '../../../model/operations.ts';
import { searchAttributes } from '../../../workflows/search-attributes.ts';
import { Exit, exitCodes } from '../exit.ts';
import { inSession, print, printJson, type Session } from '../session.ts';

interface Finding {
  check: string;
  ok: boolean;
  found: string;
}

export const doctor = (): Command =>
  new Command('doctor')
    .description('checks Temporal, its search attributes, the workers, and says what to do')
    .addHelpText('after', '\nRights and quota on the clouds are not checked yet.\n\nExample:\n  npx multi-cloud doctor')
    .action((_: unknown, command: Command) =>
      inSession(command, async (session) => {
        const findings = [await attributes(session), await workers(session), await roundTrip(session)];
        if (session.json) printJson({ findings });
        else
          for (const { check, ok, found } of findings) print(`${ok ? pc.green('✔') : pc.red('✘')} ${check}: ${found}`);
        if (findings.some(({ ok }) => !ok)) throw new Exit(exitCodes.failed);
      }),
    );

async function attributes({ estate, namespace }: Session): Promise<Finding> {
  const { customAttributes } = await estate.temporal.connection.operatorService.listSearchAttributes({ namespace });
  const missing = Object.values(searchAttributes).filter(({ name }) => !(name in (customAttributes ?? {})));
  const types: Record<string, string> = {
    KEYWORD: 'Keyword',
    KEYWORD_LIST: 'KeywordList',
    DOUBLE: 'Double',
    BOOL: 'Bool',
  };
  const command = missing.map(({ name, type }) => `--name ${name} --type ${types[type] ?? type}`).join(' ');
  return {
    check: 'search attributes',
    ok: missing.length === 0,
    found:
      missing.length === 0
        ? 'all there'
        : `missing; run: temporal operator search-attribute create --namespace ${namespace} ${command}`,
  };
}

async function workers({ estate, namespace }: Session): Promise<Finding> {
  const { pollers } = await estate.temporal.workflowService.describeTaskQueue({
    namespace,
    taskQueue: { name: taskQueue },
    taskQueueType: 1,
  });
  const count = pollers?.length ?? 0;
  return {
    check: 'workers',
    ok: count > 0,
    found:
      count > 0
        ? `${count} on ${taskQueue}`
        : `none on ${taskQueue}; start one with: npx multi-cloud worker --settings FILE`,
  };
}

/** How far away the server is. */
async function roundTrip({ estate, namespace }: Session): Promise<Finding> {
  const started = Date.now();
  await estate.temporal.workflowService.describeNamespace({ namespace });
  return { check: 'answer of Temporal', ok: true, found: `${Date.now() - started} ms` };
}
