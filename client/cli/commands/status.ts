import { Command } from 'commander';
import { inSession, print, printJson } from '../session.ts';
import { costsOf, costsText, statusText } from '../tables.ts';

export const status = (): Command =>
  new Command('status')
    .description('every service: where it runs, how it is, what works on it, who is waited for')
    .addHelpText('after', '\nExample:\n  npx multi-cloud status --json')
    .action((_: unknown, command: Command) =>
      inSession(command, async ({ estate, json }) => {
        const services = await estate.status();
        if (json) printJson({ estate: estate.name, services });
        else print(statusText(services));
      }),
    );

export const costs = (): Command =>
  new Command('costs')
    .description('monthly estimates by service and cloud, against the budget; actual costs are not available yet')
    .addHelpText('after', '\nExample:\n  npx multi-cloud costs')
    .action((_: unknown, command: Command) =>
      inSession(command, async ({ estate, json }) => {
        const [services, record] = await Promise.all([estate.status(), estate.estate()]);
        const sums = costsOf(services, record?.lastApplied);
        if (json) printJson({ estate: estate.name, ...sums });
        else print(costsText(sums));
      }),
    );
