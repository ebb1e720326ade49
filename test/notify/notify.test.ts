/** Incidents and the channels that hear of them: a real mail server, a Slack of the test's own, on the server that skips time. */
import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { WorkflowHandle } from '@temporalio/client';
import { MockActivityEnvironment, TestWorkflowEnvironment } from '@temporalio/testing';
import { bundleWorkflowCode, Worker, type WorkflowBundleOption } from '@temporalio/worker';
import { createNotifyActivities, type NotifyActivities } from '../../activities/notify/activities.ts';
import type { Alert } from '../../model/alert.ts';
import { taskQueue } from '../../model/operations.ts';
import { quietTemporal } from '../e2e/own-worker.ts';
import { type Channel, mailServer, slack } from './channels.ts';
import type { WatchedLag } from './watch-lag.ts';

const root = join(import.meta.dirname, '../..');
const estateFile = join(mkdtempSync(join(tmpdir(), 'notify-')), 'estate.yaml');
const monitoring = {
  alert_channels: [
    { type: 'slack', webhook: '${SLACK_WEBHOOK_URL}' },
    { type: 'email', recipients: ['duty@example.com', 'not an address', 'night@example.com'] },
  ],
};
writeFileSync(
  estateFile,
  JSON.stringify({ providers: [{ name: 'aws', type: 'aws', region: 'us-west-2' }], monitoring }),
);

/** Above the threshold for 10 s, then below 80 % of it for a minute. */
const rise = [
  { lagMs: 4000, afterMs: 1000 },
  { lagMs: 5000, afterMs: 9000 },
];
const fall = [
  { lagMs: 500, afterMs: 1000 },
  { lagMs: 400, afterMs: 30_000 },
];
const hour = 3_600_000;

let environment: TestWorkflowEnvironment;
let bundle: WorkflowBundleOption;
let chat: Channel | undefined;
let post: Channel | undefined;
let activities: NotifyActivities;
let running: { worker: Worker; done: Promise<void> };

beforeAll(async () => {
  quietTemporal();
  const path = join(root, '.local/python/bin/temporal-test-server');
  environment = await TestWorkflowEnvironment.createTimeSkipping({
    server: { executable: { type: 'existing-path', path } },
  });
  bundle = await bundleWorkflowCode({ workflowsPath: join(import.meta.dirname, 'watch-lag.ts') });
}, 60_000);
afterAll(() => environment.teardown());

beforeEach(async () => {
  const [slackChannel, mail] = await Promise.all([slack(), mailServer()]);
  [chat, post] = [slackChannel, mail];
  activities = createNotifyActivities({
    estateFile,
    smtp: { host: '127.0.0.1', port: mail.port, secure: 'none', from: 'multi-cloud@example.com' },
    secrets: () => ({ SLACK_WEBHOOK_URL: slackChannel.webhook }),
    deadlineMs: 5000,
  });
  const connection = environment.nativeConnection;
  const worker = await Worker.create({ connection, taskQueue, workflowBundle: bundle, activities: { ...activities } });
  running = { worker, done: worker.run() };
});
afterEach(async () => {
  running.worker.shutdown();
  await running.done;
  await Promise.all([chat?.close(), post?.close()]);
});

const channels = (): Channel[] => [chat, post].filter((one) => one !== undefined);

function watch(input: WatchedLag): Promise<WorkflowHandle> {
  return environment.client.workflow.start('watchLag', {
    ...{ taskQueue, args: [input] },
    workflowId: `replicate/multi-cloud/data_lake-${Math.random()}`,
  });
}

/** What was sent, without what the incident was about. */
const incidentIn = (message: string): string => /data_lake\.[a-z]+\.[a-z]+\.\d{8}T\d{9}Z/.exec(message)?.[0] ?? '';
const isBegin = (message: string): boolean => /is 5\.0 s behind/.test(message);
const isEnd = (message: string): boolean => /keeps up again|not watched any more/.test(message);
const messageIds = (): (string | undefined)[] =>
  (post?.taken ?? []).map((mail) => /^Message-ID: (\S+)/im.exec(mail)?.[1]);

it('each channel is told once that an incident has begun and once that it has ended, and history holds no secret', async () => {
  const run = await watch({ seen: [...rise, { lagMs: 3000, afterMs: hour }, ...fall, { lagMs: 0, afterMs: hour }] });
  const trail: string[] = await run.result();
  for (const { taken } of channels()) {
    expect(taken.map(isBegin)).toEqual([true, false]);
    expect(taken.map(isEnd)).toEqual([false, true]);
    expect(new Set(taken.map(incidentIn)).size).toBe(1);
  }
  const incident = incidentIn(chat?.taken[0] ?? '');
  expect(messageIds()).toEqual([
    `<${incident}.begin@multi-cloud.multi-cloud>`,
    `<${incident}.end@multi-cloud.multi-cloud>`,
  ]);
  expect(post?.taken[1]).toContain(`In-Reply-To: <${incident}.begin@multi-cloud.multi-cloud>`);
  expect(post?.taken[0]).toContain('duty@example.com, night@example.com');
  expect(trail).toHaveLength(4);
  expect(JSON.stringify(await run.fetchHistory())).not.toContain('planted-webhook-secret');
}, 30_000);

it('a lag that swings about the threshold is one incident, and a short peak is none', async () => {
  const swing = Array.from({ length: 30 }, (_, at) => ({ lagMs: at % 2 ? 1100 : 900, afterMs: 5000 }));
  const peak = [
    { lagMs: 9000, afterMs: hour },
    { lagMs: 10, afterMs: 9000 },
  ];
  await (await watch({ seen: [...peak, ...rise, ...swing, ...fall] })).result();
  expect(channels().map(({ taken }) => taken.length)).toEqual([2, 2]);
}, 30_000);

it('channels that were down for five minutes are told once of the begin and once of the end, also by the next run', async () => {
  // 1 + 2 + 4 + ... + 32 s, then a minute each: the eleventh try comes after five minutes.
  for (const channel of channels()) channel.mood = (n) => (n <= 10 ? 'refuses' : 'well');
  const seen = [
    // The next run takes over a lag that rises, and the one after it what is on its way.
    ...rise.map((one, at) => ({ ...one, thenNew: at === 1 })),
    { lagMs: 5000, afterMs: 20_000, thenNew: true },
    ...fall,
    { lagMs: 0, afterMs: 10 * 60_000 },
  ];
  const began = await environment.currentTimeMs();
  await (await watch({ seen })).result();
  expect((await environment.currentTimeMs()) - began).toBeGreaterThan(5 * 60_000);
  for (const { taken, tries } of channels()) {
    expect(tries).toBeGreaterThan(10);
    expect(taken.map(isBegin).sort()).toEqual([false, true]);
    expect(new Set(taken.map(incidentIn)).size).toBe(1);
  }
}, 30_000);

it('after a lost answer there is one repeat that can be known as one, and no second one', async () => {
  for (const channel of channels()) channel.mood = (n) => (n === 1 ? 'silent' : 'well');
  await (await watch({ seen: [...rise, { lagMs: 5000, afterMs: hour }, ...fall] })).result();
  for (const { taken } of channels()) {
    expect(taken.map(isBegin)).toEqual([true, true, false]);
    expect(taken[1]).toBe(taken[0]?.replace(/^Date: .*/im, /^Date: .*/im.exec(taken[1] ?? '')?.[0] ?? ''));
  }
  const [first, repeat, end] = messageIds();
  expect(repeat).toBe(first);
  expect(end).not.toBe(first);

  for (const channel of channels()) {
    channel.taken.length = 0;
    channel.mood = () => 'silent';
  }
  const trail: string[] = await (await watch({ seen: [...rise, { lagMs: 5000, afterMs: hour }] })).result();
  expect(channels().map(({ taken }) => taken.filter(isBegin).length)).toEqual([2, 2]);
  expect(trail.filter((line) => line.includes('has not said whether'))).toHaveLength(4);
}, 30_000);

it('when nobody observes any more, an incident ends and says why', async () => {
  const run = await watch({ seen: [...rise, { lagMs: 9000, afterMs: 24 * hour }] });
  await environment.sleep('30s');
  await run.cancel();
  await run.result();
  for (const { taken } of channels()) {
    expect(taken).toHaveLength(2);
    expect(taken[1]).toContain('not watched any more: replication was stopped');
  }
}, 30_000);

describe('one message', () => {
  const hostile = 'x\r\nBcc: thief@example.com\r\n\r\n<!channel> <https://evil.example|click> *a* & \u001b[31m\u202e';
  const alert: Alert = {
    ...{ estate: 'multi-cloud', service: hostile, incident: 'data_lake.aws.gcp.20260101T000000000Z', event: 'begin' },
    direction: { from: 'aws', to: 'gcp' },
    ...{ thresholdMs: 1000, at: 1e12, begunAt: 1e12 - 1000, lagMs: 5000, worstMs: 5000, workflowId: hostile },
  };
  const sendTo = async (type: string, info: object = {}): Promise<unknown> => {
    const all = await activities.alertChannels({ estate: 'multi-cloud' });
    const channel = all.find((id) => id.startsWith(type)) ?? '';
    return new MockActivityEnvironment(info).run(activities.sendAlert, { channel, alert });
  };

  it('shows hostile names as text', async () => {
    await Promise.all([sendTo('slack'), sendTo('email')]);
    const { text, ...rest } = JSON.parse(chat?.taken[0] ?? '');
    expect(text).toBe(text.replace(/[<>\r]|\p{Cf}|(?!\n)\p{Cc}/gu, ''));
    expect(text).toContain('&lt;!channel&gt; &lt;https://evil.example|click&gt;');
    expect(text.split('\n')).toHaveLength(6);
    expect(rest).toMatchObject({ mrkdwn: false, link_names: false });
    const [head = ''] = (post?.taken[0] ?? '').split('\r\n\r\n');
    expect(head).toMatch(/^To: duty@example\.com, night@example\.com\r$/m);
    expect(head).not.toMatch(/^Bcc:/im);
    expect(head.match(/^Subject:/gim)).toHaveLength(1);
  });

  it('that was under way when its worker died is not sent by whoever takes it up', async () => {
    for (const type of ['slack', 'email'])
      expect(await sendTo(type, { heartbeatDetails: { underWay: true } })).toMatchObject({ how: 'lost' });
    expect(channels().map(({ tries }) => tries)).toEqual([0, 0]);
  });

  it('that is refused says why in our own words, without the secret, and a channel that is gone is no failure', async () => {
    for (const channel of channels()) channel.mood = () => 'refuses';
    await expect(sendTo('slack')).rejects.toMatchObject({ message: expect.stringMatching(/it answers 503$/) });
    await expect(sendTo('email')).rejects.toMatchObject({ message: expect.stringMatching(/its server answers 421$/) });
    await Promise.all(channels().map((channel) => channel.close()));
    const refused = await sendTo('slack').catch((error: Error) => error.message);
    expect(refused).toMatch(/cannot be reached: ECONNREFUSED$/);
    const gone = { channel: `slack-${'0'.repeat(12)}`, alert };
    expect(await new MockActivityEnvironment().run(activities.sendAlert, gone)).toEqual({ how: 'gone' });
    chat = undefined;
    post = undefined;
  });
});
