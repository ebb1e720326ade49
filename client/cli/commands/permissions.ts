import { mkdirSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { Command, Option } from 'commander';
import { stringify } from 'yaml';
import { loadPermissions } from '../../../config/load.ts';
import { type Identity, identities, type Part, type Policies, parts, policiesFor } from '../../../model/permissions.ts';
import { type ProviderType, providerTypes } from '../../../model/service.ts';
import { Exit, exitCodes } from '../exit.ts';
import { type GlobalOptions, print, printJson, root } from '../session.ts';

interface Options extends GlobalOptions {
  provider: ProviderType;
  service?: Part;
  identity?: Identity;
  account?: string;
  out?: string;
}

export const permissions = (): Command =>
  new Command('permissions')
    .description('prints the least rights that workers need on a cloud, as policies of that cloud')
    .addOption(new Option('--provider <cloud>', 'whose policies').choices(providerTypes).makeOptionMandatory())
    .addOption(
      new Option(
        '--service <type>',
        'of this service type and of the records buckets, or of the DNS zone (traffic: of weighted answers in it)',
      ).choices(parts),
    )
    .addOption(
      new Option(
        '--identity <who>',
        'control: creates and verifies; undo: takes back, removes and fences; watch: looks; bulk: copies content (default: all that make calls)',
      ).choices(identities),
    )
    .option('--account <id>', 'AWS account (default: any) or Azure subscription that the policies are for')
    .option('--out <folder>', 'writes each policy into a file there')
    .addHelpText(
      'after',
      '\nA worker that serves all queues of a cloud acts as control and undo: give its credentials both. EC2 aside, policies of AWS\nend at the resources of --estate.\n\nExamples:\n  npx multi-cloud permissions --provider aws --identity control --out policies\n  npx multi-cloud permissions --provider azure --account 00000000-0000-0000-0000-000000000000 --identity undo\n  npx multi-cloud permissions --provider gcp --service storage --json',
    )
    .action((_: unknown, command: Command) => {
      const { provider, service, identity, estate, account, out, json } = command.optsWithGlobals<Options>();
      if (provider === 'azure' && account === undefined)
        throw new Exit(
          exitCodes.wrongUsage,
          '--account: found nothing; a role of Azure names the subscription that it may be assigned in',
          'InvalidInput',
        );
      const sheet = loadPermissions(join(root, 'config'))[provider];
      const chosen = identity ? [identity] : identities;
      // Whatever is deployed, its trail is kept in a bucket.
      const wanted =
        service && (service === 'dns' || service === 'traffic' ? [service] : [service, 'storage' as const]);
      const policies: Policies = Object.assign(
        {},
        ...chosen.map((one) =>
          policiesFor(provider, sheet, { identity: one, parts: wanted }, { estate, account: account ?? '*' }),
        ),
      );
      if (Object.keys(policies).length === 0)
        throw new Exit(
          exitCodes.wrongUsage,
          `--identity: found ${identity}; nothing makes calls to ${provider} as ${identity} yet`,
          'InvalidInput',
        );
      if (out !== undefined) write(resolve(out), policies);
      else if (json) printJson(policies);
      else show(policies);
    });

const textOf = (file: string, policy: unknown): string =>
  file.endsWith('.yaml') ? stringify(policy) : `${JSON.stringify(policy, null, 2)}\n`;

function write(folder: string, policies: Policies): void {
  mkdirSync(folder, { recursive: true });
  for (const [file, policy] of Object.entries(policies)) {
    writeFileSync(join(folder, file), textOf(file, policy));
    print(join(folder, file));
  }
}

/** A single one can be piped on as it is. */
function show(policies: Policies): void {
  const entries = Object.entries(policies);
  for (const [file, policy] of entries)
    print(`${entries.length > 1 ? `# ${file}\n` : ''}${textOf(file, policy).trimEnd()}`);
}
