import { Command, Option } from 'commander';
import type { DeployOptions } from '../../index.ts';
import { confirm, mustBeAsked } from '../confirm.ts';
import { inputOf } from '../estate-file.ts';
import { leaveOrFollow } from '../follow.ts';
import { planText } from '../plan-text.ts';
import { defaultName, type GlobalOptions, inSession } from '../session.ts';

interface Options extends GlobalOptions {
  file?: string;
  detach?: boolean;
  yes?: boolean;
  wait?: boolean;
  approval: NonNullable<DeployOptions['approval']>;
  service?: string;
  revert?: boolean;
  by: string;
}

export const deploy = (): Command =>
  new Command('deploy')
    .description('brings the estate to what its file says, and follows it; never moves or removes what runs')
    .option('-f, --file <file>', "an estate file instead of the worker's (its services, placement and cost)")
    .option('--service <name>', 'only this service')
    .addOption(
      new Option('--approval <how>', 'manual: ask a person before anything is changed')
        .choices(['none', 'manual'])
        .default('none'),
    )
    .option('--detach', 'start it and leave')
    .option('--wait', 'stay when it waits for a person or is blocked')
    .option('--revert', 'take back values that somebody else has applied since; without it the run asks first')
    .option('--by <name>', 'who asks, for the audit trail', defaultName())
    .option('-y, --yes', 'do not ask (whether to take back what others applied is asked all the same)')
    .addHelpText('after', '\nExamples:\n  npx multi-cloud deploy\n  npx multi-cloud deploy --approval manual --detach')
    .action((_: unknown, command: Command) =>
      inSession(command, async (session) => {
        const { file, detach, yes, wait, approval, service, revert = false, by } = command.optsWithGlobals<Options>();
        const input: DeployOptions = { approval, revert, by, ...inputOf(file) };
        // Whoever is asked sees what would be done, and in which accounts.
        const planned = mustBeAsked(yes) && !session.json ? await session.estate.plan(input) : undefined;
        if (planned) process.stderr.write(`${planText(planned)}\n\n`);
        await confirm(session, service ? `Deploy ${service}` : 'Deploy the estate', yes, planned?.accounts);
        const handle = service
          ? await session.estate.deployService(service, input)
          : await session.estate.deploy(input);
        if (handle.joined) process.stderr.write(`${handle.workflowId} runs already; joining it.\n`);
        await leaveOrFollow(session, handle, { detach, wait });
      }),
    );
