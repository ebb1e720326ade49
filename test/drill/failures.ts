/** Ten failures: how each is staged, and how the night shift gets out of it by what the tools say alone. */
import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { connect } from '../../client/index.ts';
import { accounts } from '../../emulators/environment.ts';
import { readRunFile } from '../../emulators/run-file.ts';
import { resourceName } from '../../model/names.ts';
import { ended, estate, type Said, type Stage, says, state } from './stage.ts';

export interface Failure {
  name: string;
  /** What goes wrong, for readers. */
  story: string;
  /** Ends with why it cannot be staged here, where that is so. */
  play(stage: Stage): Promise<unknown>;
}

const heal = 'npx multi-cloud local fault --clear';
const deploy = 'npx multi-cloud deploy --yes';

/** A deployment that is blocked, looked at from all sides; what its own words name is repaired; it goes on. */
async function blocked(stage: Stage, names: RegExp, repair: string): Promise<void> {
  const held = await stage.types(deploy);
  ended(held, 4);
  says(held, names);
  says(await stage.types('npx multi-cloud status'), 'blocked', names);
  stage.note(repair);
  await stage.runs(heal);
  await stage.follows(held, /retry/);
  ended(await stage.follows(held, /watch/), 0);
  await healthy(stage);
}

async function healthy(stage: Stage): Promise<Said> {
  const said = await stage.types('npx multi-cloud doctor');
  ended(said, 0);
  return said;
}

async function removeAll(stage: Stage): Promise<void> {
  ended(await stage.runs(`npx multi-cloud remove --all --confirm ${estate} --yes`), 0);
}

async function client() {
  const run = readRunFile(state);
  if (!run) throw new Error('the stage is not up');
  return connect({ address: run.temporal.address, estate });
}

async function until<T>(look: () => Promise<T | undefined>, withinMs: number): Promise<T> {
  const deadline = Date.now() + withinMs;
  for (;;) {
    const found = await look();
    if (found !== undefined) return found;
    if (Date.now() > deadline) throw new Error('it did not come about in time');
    await new Promise((done) => setTimeout(done, 500));
  }
}

export const failures: Failure[] = [
  {
    name: 'A right is missing',
    story: 'Somebody has taken the right to create networks from the worker.',
    async play(stage) {
      stage.has('machines');
      await stage.runs('npx multi-cloud local fault deny --cloud aws --operation CreateVpc');
      await blocked(
        stage,
        /ec2:CreateVpc.*grant this right/,
        'The account’s administrator grants `ec2:CreateVpc` to the worker.',
      );
      await removeAll(stage);
    },
  },
  {
    name: 'A quota is used up',
    story: 'The subscription takes no more storage accounts.',
    async play(stage) {
      stage.has('photos');
      await stage.runs(
        'npx multi-cloud local fault quota --cloud azure --method PUT --path /storageAccounts.[a-z0-9]+$/',
      );
      await blocked(stage, /QuotaExceeded.*have the quota raised/, 'The quota is raised.');
      await removeAll(stage);
    },
  },
  {
    name: 'A key has expired',
    story: 'The key of the worker’s service account is no longer valid.',
    async play(stage) {
      stage.has('maps');
      await stage.runs('npx multi-cloud local fault expire --cloud gcp --path /drill-maps/');
      await blocked(stage, /Unauthenticated.*renew the credentials/, 'A new key is put where the worker reads it.');
      await removeAll(stage);
    },
  },
  {
    name: 'A cloud is away',
    story: 'No connection to Azure stands.',
    async play(stage) {
      stage.has('photos');
      await stage.runs(
        'npx multi-cloud local fault unavailable --cloud azure --method PUT --path /storageAccounts.[a-z0-9]+$/',
      );
      await blocked(stage, /Unavailable.*status page/, 'The status page says that Azure is back.');
      await removeAll(stage);
    },
  },
  {
    name: 'The clock is wrong',
    story: 'The worker’s clock is half an hour late; AWS refuses what it signs.',
    async play(stage) {
      stage.has('tiles');
      await stage.runs('npx multi-cloud local fault skew --cloud aws --method PUT --path /');
      await blocked(stage, /ClockSkewed.*set the clock/, 'The time service of the worker’s machine is started.');
      await removeAll(stage);
    },
  },
  {
    name: 'An orphan cannot be deleted',
    story: 'A deployment is blocked and shall be taken back; but the right to delete networks was lost, too.',
    async play(stage) {
      stage.has('machines');
      await stage.runs('npx multi-cloud local fault deny --cloud aws --operation CreateAutoScalingGroup');
      await stage.runs('npx multi-cloud local fault deny --cloud aws --operation DeleteVpc');
      const held = await stage.types(deploy);
      ended(held, 4);
      says(held, 'autoscaling:CreateAutoScalingGroup');
      await stage.follows(held, /undo/, '--yes');
      const parked = await stage.follows(held, /watch/);
      ended(parked, 4);
      says(parked, /left behind.*ec2:DeleteVpc/);
      says(await stage.types('npx multi-cloud status'), 'needs-operator');
      stage.note('Nobody who could grant it is on duty: it is given up for tonight.');
      await stage.follows(parked, /abandon/);
      const undone = await stage.follows(held, /watch/);
      says(undone, 'Not everything could be undone');
      const status = await stage.types('npx multi-cloud status');
      says(status, 'left behind');
      stage.note('In the morning the right is granted.');
      await stage.runs(heal);
      ended(await stage.follows(status, /recover machines/, '--yes'), 0);
      await healthy(stage);
    },
  },
  {
    name: 'A run was terminated',
    story: 'Somebody presses Terminate in Temporal’s UI in the middle of a deployment.',
    async play(stage) {
      stage.has('machines');
      await stage.runs('npx multi-cloud local fault delay --cloud aws --operation CreateAutoScalingGroup --delay 6s');
      const started = await stage.types(`${deploy} --detach`);
      await terminateHolder('machines');
      await stage.runs(heal);
      says(await stage.follows(started, /watch/), /terminated/i);
      const status = await until(async () => {
        const said = await stage.runs('npx multi-cloud status');
        return said.text.includes('interrupted') ? said : undefined;
      }, 120_000);
      stage.note('A minute later the record has noticed that its run is gone.');
      await stage.types('npx multi-cloud status');
      ended(await stage.follows(status, /recover machines/, '--yes'), 0);
      await healthy(stage);
      await removeAll(stage);
    },
  },
  {
    name: 'Temporal’s database is lost',
    story: 'The disk with Temporal’s database has died; it starts with an empty one.',
    async play(stage) {
      stage.has('tiles', 'maps');
      ended(await stage.runs(deploy), 0);
      await stage.down();
      rmSync(join(state, 'temporal'), { recursive: true });
      await stage.up();
      const status = await stage.types('npx multi-cloud status');
      const found = await stage.follows(status, /doctor/);
      ended(found, 1);
      const rebuilt = await stage.follows(found, /recover --rebuild/, '--yes');
      ended(rebuilt, 0);
      const refused = await stage.types(deploy);
      says(refused, 'read-only');
      says(await stage.follows(rebuilt, /doctor/), 'read-only until it is confirmed');
      ended(await stage.follows(refused, /recover --confirm/, '--yes'), 0);
      ended(await stage.types(deploy), 0);
      await healthy(stage);
      await removeAll(stage);
    },
  },
  {
    name: 'The disk of the Temporal server is full',
    story: 'Temporal can write nothing any more.',
    async play(stage) {
      stage.has('tiles');
      await stage.down();
      const folder = join(state, 'temporal');
      rmSync(folder, { recursive: true, force: true });
      const mounted = stage.mount(folder, '24m');
      await stage.up();
      if (!mounted) return { skipped: 'this user may mount no file system of its own' };
      try {
        await stage.runs(deploy);
        fill(join(folder, 'ballast'));
        const isFull = 'the disk of its database is full';
        // What its log of writes has taken already can be written again for a while.
        for (let left = 100; left > 0 && !(await stage.runs(deploy)).text.includes(isFull); left--);
        says(await stage.types(deploy), isFull);
        says(await stage.types('npx multi-cloud doctor'), isFull);
        stage.note('Room is made on the disk.');
        rmSync(join(folder, 'ballast'));
        ended(await stage.types(deploy), 0);
        await healthy(stage);
        await removeAll(stage);
      } finally {
        await stage.down();
        await stage.up();
      }
      return undefined;
    },
  },
  {
    name: 'A bucket of somebody else',
    story: 'A bucket stands under the very name that the next one of ours would have.',
    async play(stage) {
      stage.has('tiles');
      ended(await stage.runs(deploy), 0);
      await removeAll(stage);
      const name = await nextName();
      stage.stranger('create', name);
      const refused = await stage.types(deploy);
      says(refused, 'NotOurs', name, 'deployed again');
      ended(await stage.types(deploy), 0);
      await healthy(stage);
      await removeAll(stage);
      stage.stranger('delete', name);
    },
  },
];

/** Terminates the run that works on a service, once it has begun. */
async function terminateHolder(service: string): Promise<void> {
  const estateClient = await client();
  const { holder } = await until(async () => {
    const record = await estateClient.service(service);
    return record && record.intents.length > 0 ? record : undefined;
  }, 60_000);
  await estateClient.temporal.workflow.getHandle(holder?.workflowId ?? '').terminate('pressed by mistake');
  await estateClient.close();
}

/** The name of the bucket that the next deployment of `tiles` makes. */
async function nextName(): Promise<string> {
  const estateClient = await client();
  const { uid = '' } = (await estateClient.estate()) ?? {};
  const generation = ((await estateClient.service('tiles'))?.generations.aws ?? 0) + 1;
  await estateClient.close();
  const owner = { estate, uid, service: 'tiles', controller: '', generation };
  const place = { provider: 'aws', providerType: 'aws', region: 'us-west-2', account: accounts.aws } as const;
  return resourceName({ ...place, owner, type: 'storage', configuration: {} }, { limit: 63 });
}

/** Writes until nothing more fits. */
function fill(file: string): void {
  const block = Buffer.alloc(16 * 1024);
  try {
    for (;;) writeFileSync(file, block, { flag: 'a' });
  } catch (error) {
    if (!(error instanceof Error && 'code' in error && error.code === 'ENOSPC')) throw error;
  }
}
