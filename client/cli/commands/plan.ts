import { resolve } from 'node:path';
import { Command } from 'commander';
import { loadSheets } from '../../../config/load.ts';
import { placeService } from '../../../model/placement.ts';
import { inputOf, readEstate } from '../estate-file.ts';
import { Exit, exitCodes } from '../exit.ts';
import { offlinePlan } from '../offline-plan.ts';
import { planText } from '../plan-text.ts';
import { defaultName, type GlobalOptions, inSession, print, printJson, root } from '../session.ts';

/** What the local mode starts with. */
const sample = resolve(root, 'config/multi-cloud.yaml');

interface Options extends GlobalOptions {
  file?: string;
  offline?: boolean;
}

export const plan = (): Command =>
  new Command('plan')
    .description('what would be created where, why and at what monthly cost; changes nothing')
    .option('-f, --file <file>', "an estate file instead of the worker's (its services, placement and cost)")
    .option('--offline', 'judge a file on this machine, without Temporal or any cloud')
    .addHelpText(
      'after',
      '\nExamples:\n  npx multi-cloud plan\n  npx multi-cloud plan --offline -f config/multi-cloud.yaml --json',
    )
    .action(async (_: unknown, command: Command) => {
      const options = command.optsWithGlobals<Options>();
      if (options.offline) return offline(options);
      await inSession(command, async ({ estate, json }) => {
        const input = { ...inputOf(options.file), by: defaultName() };
        const planned = await estate.plan(input);
        if (json) printJson(planned);
        else print(planText(planned));
      });
    });

function offline({ file = sample, json }: Options): void {
  const estate = readEstate(file);
  const sheets = loadSheets(resolve(root, 'config'));
  const placed = Object.keys(estate.services)
    .sort()
    .map((service) => placeService(estate, service, sheets));
  const planned = offlinePlan(estate, placed, sheets);
  const errors = placed.flatMap(({ error }) => error ?? []);
  if (json) printJson({ ...planned, ...(errors.length > 0 && { errors }) });
  else print(planText(planned, { offline: true }));
  if (errors.length > 0)
    throw new Exit(exitCodes.failed, errors.map(({ type, message }) => `${type}: ${message}`).join('\n'));
}
