import { Command } from 'commander';
import pc from 'picocolors';
import { providerQueue, taskQueue, urgentQueue } from '../../../model/operations.ts';
import { remedyOf, shortageText } from '../../../model/quota.ts';
import { printable } from '../../../model/text.ts';
import { searchAttributes } from '../../../workflows/search-attributes.ts';
import { OperationFailed } from '../../index.ts';
import { Exit, exitCodes } from '../exit.ts';
import { explainIn, inSession, print, printJson, type Session } from '../session.ts';

interface Finding {
  check: string;
  ok: boolean;
  /** What was found, and where it is wrong what to do. */
  found: string;
}

/** A worker that is there looks around within seconds; longer means that none is, or that a cloud does not answer. */
const checkWithinMs = 60_000;

export const doctor = (): Command =>
  new Command('doctor')
    .description('checks Temporal, the workers, every cloud and every record; says what is the matter and what to do')
    .addHelpText(
      'after',
      '\nA run of checkEstate tries the credentials of each cloud, scans the clouds for resources of the estate that no record\nknows, and reads every record; a run of planEstate asks them for room in the quotas. Neither changes anything in the clouds.\n\nExample:\n  npx multi-cloud doctor',
    )
    .action((_: unknown, command: Command) =>
      inSession(command, async (session) => {
        const findings: Finding[] = [await server(session), await attributes(session)];
        const control = await workers(session, taskQueue);
        findings.push(control);
        if (control.ok) findings.push(...(await workersView(session)));
        // A plan needs all of it; what keeps an operation from its end is said above.
        if (findings.every(({ ok }) => ok)) findings.push(...(await headroom(session)));
        if (session.json) printJson({ findings });
        else
          for (const { check, ok, found } of findings)
            print(`${ok ? pc.green('✔') : pc.red('✘')} ${check}: ${printable(found)}`);
        if (findings.some(({ ok }) => !ok)) throw new Exit(exitCodes.failed);
      }),
    );

async function server({ estate, address, namespace }: Session): Promise<Finding> {
  const started = Date.now();
  await estate.temporal.workflowService.describeNamespace({ namespace });
  const { serverVersion } = await estate.temporal.workflowService.getSystemInfo({});
  const found = `${serverVersion} at ${address}, namespace ${namespace}, answers in ${Date.now() - started} ms`;
  return { check: 'Temporal', ok: true, found };
}

const typeNames: Record<string, string> = {
  KEYWORD: 'Keyword',
  KEYWORD_LIST: 'KeywordList',
  DOUBLE: 'Double',
  BOOL: 'Bool',
};

async function attributes({ estate, namespace }: Session): Promise<Finding> {
  const { customAttributes } = await estate.temporal.connection.operatorService.listSearchAttributes({ namespace });
  const missing = Object.values(searchAttributes).filter(({ name }) => !(name in (customAttributes ?? {})));
  const command = missing.map(({ name, type }) => `--name ${name} --type ${typeNames[type] ?? type}`).join(' ');
  return {
    check: 'search attributes',
    ok: missing.length === 0,
    found:
      missing.length === 0
        ? 'all there'
        : `missing; run: temporal operator search-attribute create --namespace ${namespace} ${command}`,
  };
}

async function workers({ estate, namespace }: Session, queue: string): Promise<Finding> {
  const { pollers } = await estate.temporal.workflowService.describeTaskQueue({
    namespace,
    taskQueue: { name: queue },
    // Workflow tasks for the main queue; the others carry activities alone.
    taskQueueType: queue === taskQueue ? 1 : 2,
  });
  const count = pollers?.length ?? 0;
  const found = count > 0 ? `${count}` : 'none; start one: npx multi-cloud worker (local) or worker --real';
  return { check: `workers on ${queue}`, ok: count > 0, found };
}

/** What a worker finds: whether it reads its estate file, whom it is to each cloud, and what is the matter with the services. */
async function workersView(session: Session): Promise<Finding[]> {
  const check = 'look by a worker';
  try {
    const seen = await withinPatience(session.estate.check());
    if (!seen)
      return [
        { check, ok: false, found: `no answer within ${checkWithinMs / 1000} s; look at the run check/… in the UI` },
      ];
    const queues = seen.clouds.flatMap(({ provider }) => [providerQueue(provider), urgentQueue(provider)]);
    return [
      { check, ok: true, found: `${seen.services.length} services` },
      ...seen.clouds.map(({ provider, account, problem }) => ({
        check: `credentials of ${provider}`,
        ok: problem === '',
        found: problem || account,
      })),
      ...(await Promise.all(queues.map((queue) => workers(session, queue)))),
      ...seen.services.map(({ service, status, problem, command }) => ({
        check: `service ${service}`,
        ok: problem === '',
        found: problem === '' ? status : `${problem}; run: npx ${command}`,
      })),
      ...seen.orphans.map(({ service, provider, kind, name, reason }) => ({
        check: `resource of ${service}`,
        ok: false,
        found: `${provider} ${kind} ${name}: ${reason}; run: npx multi-cloud recover ${service}`,
      })),
      ...(seen.lost ?? []).map(({ uid, resources, services }) => ({
        check: 'records',
        ok: false,
        found: `Temporal knows of nothing that runs, and the clouds hold ${resources} resources of an estate ${session.estate.name} (UID ${uid}: ${services.join(', ')}). Where its database was lost, run: npx multi-cloud recover --rebuild ${uid}`,
      })),
    ];
  } catch (error) {
    const found =
      error instanceof OperationFailed ? `${error.type}: ${error.message}` : (await explainIn(session, error)).message;
    return [{ check, ok: false, found }];
  }
}

/** Whether what the worker's estate file still asks for fits into the quotas of the clouds. */
async function headroom({ estate }: Session): Promise<Finding[]> {
  const check = 'quotas';
  try {
    const planned = await withinPatience(estate.plan());
    if (!planned) return [{ check, ok: false, found: `no plan within ${checkWithinMs / 1000} s` }];
    const { short = [] } = planned;
    if (short.length === 0) return [{ check, ok: true, found: 'room for all that the estate file asks for' }];
    return short.map((one) => ({ check, ok: false, found: `${shortageText(one)}; raise it: ${remedyOf(one)}` }));
  } catch (error) {
    if (error instanceof OperationFailed) return [{ check, ok: false, found: `${error.type}: ${error.message}` }];
    throw error;
  }
}

/** Undefined where it takes longer than a worker that is there needs. */
async function withinPatience<T>(work: Promise<T>): Promise<T | undefined> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<undefined>((resolve) => {
    timer = setTimeout(() => resolve(undefined), checkWithinMs);
  });
  try {
    return await Promise.race([work, late]);
  } finally {
    clearTimeout(timer);
  }
}
