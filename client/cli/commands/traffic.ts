import { Command, InvalidArgumentError, Option } from 'commander';
import { confirm, mustBeAsked, recordedAccounts } from '../confirm.ts';
import { leaveOrFollow } from '../follow.ts';
import { defaultName, type GlobalOptions, inSession } from '../session.ts';

interface Options extends GlobalOptions {
  set?: Record<string, number>;
  steps?: number[];
  hold?: string;
  maxErrors?: number;
  approval: 'none' | 'manual';
  detach?: boolean;
  wait?: boolean;
  yes?: boolean;
  by: string;
}

function number(text: string | undefined): number {
  const value = Number(text);
  if (!text || !Number.isFinite(value) || value < 0) throw new InvalidArgumentError('allowed: numbers from 0');
  return value;
}

/** `aws=90,gcp=10`. */
const weights = (text: string): Record<string, number> =>
  Object.fromEntries(
    text.split(',').map((one) => {
      const [provider = '', weight] = one.split('=');
      return [provider.trim(), number(weight)];
    }),
  );

export const traffic = (): Command =>
  new Command('traffic')
    .description('shows how the traffic of a service is spread over its placements, or changes that in steps')
    .argument('<service>', 'key of a service with fronts in traffic.fronts of the estate file')
    .addOption(new Option('--set <weights>', 'how it is to be spread, by provider: aws=90,gcp=10').argParser(weights))
    .addOption(
      new Option('--steps <percentages>', 'of the way there; default: 1,10,50,100').argParser((text) =>
        text.split(',').map(number),
      ),
    )
    .option('--hold <duration>', 'how long each step is watched; default: 1m')
    .addOption(
      new Option(
        '--max-errors <share>',
        'share of requests, 0 to 1, that may fail where more goes to; default: 0.01; only a load balancer tells',
      ).argParser(number),
    )
    .addOption(
      new Option('--approval <how>', 'manual: ask a person before anything is changed')
        .choices(['none', 'manual'])
        .default('none'),
    )
    .option('--detach', 'start it and leave')
    .option('--wait', 'stay when it waits for a person or is blocked')
    .option('--by <name>', 'who asks, for the audit trail', defaultName())
    .option('-y, --yes', 'do not ask before it starts')
    .addHelpText(
      'after',
      '\nA step whose targets are down or fail too often goes back to what was before (exit 5), and so do undo and cancel.\n\nExamples:\n  npx multi-cloud traffic compute\n  npx multi-cloud traffic compute --set aws=90,gcp=10 --hold 10m',
    )
    .action((service: string, _: unknown, command: Command) =>
      inSession(command, async (session) => {
        const { set, steps, hold, maxErrors, approval, detach, wait, yes, by } = command.optsWithGlobals<Options>();
        if (!set) return leaveOrFollow(session, await session.estate.steer({ service, by }), { wait });
        mustBeAsked(yes);
        const spread = Object.entries(set).map(([provider, weight]) => `${provider} ${weight}`);
        await confirm(session, `Steer ${service} to ${spread.join(', ')}`, yes, await recordedAccounts(session));
        const handle = await session.estate.steer({
          service,
          weights: set,
          steps,
          hold,
          max_errors: maxErrors,
          approval,
          by,
        });
        await leaveOrFollow(session, handle, { detach, wait });
      }),
    );
