import { z } from 'zod';
import { loadDefinition } from '../../../emulators/gcp/compute-definition.ts';
import { parseFilter } from '../../../emulators/gcp/pubsub-filter.ts';
import type { Json, JsonObject } from '../../../model/service.ts';
import { LocalGcp, project, type Reply } from './local-gcp.ts';

const cloud = new LocalGcp();
const definition = loadDefinition('pubsub.v1');
const call = (method: string, path: string, body?: Json): Promise<Reply> =>
  cloud.call(method, 'pubsub.googleapis.com', `/v1/projects/${project}/${path}`, body);

const Pulled = z.object({
  receivedMessages: z
    .array(z.object({ ackId: z.string(), message: z.object({ data: z.string().default('') }) }))
    .default([]),
});
async function pull(subscription: string, maxMessages = 100): Promise<{ ackId: string; text: string }[]> {
  const { body } = await call('POST', `subscriptions/${subscription}:pull`, { maxMessages, returnImmediately: true });
  expect(definition.checkBody('PullResponse', body)).toBeUndefined();
  return Pulled.parse(body).receivedMessages.map(({ ackId, message }) => ({
    ackId,
    text: Buffer.from(message.data, 'base64').toString('utf8'),
  }));
}
const publish = (topic: string, ...messages: JsonObject[]): Promise<Reply> =>
  call('POST', `topics/${topic}:publish`, {
    messages: messages.map(({ text, ...more }) => ({ data: Buffer.from(String(text)).toString('base64'), ...more })),
  });
const subscribe = (name: string, topic: string, more: JsonObject = {}): Promise<Reply> =>
  call('PUT', `subscriptions/${name}`, { topic: `projects/${project}/topics/${topic}`, ...more });
const texts = (pulled: { text: string }[]): string[] => pulled.map(({ text }) => text);

beforeAll(() => cloud.start());
afterAll(() => cloud.remove());

it('keeps topics and subscriptions as they are asked for, and changes what a mask names', async () => {
  const topic = { labels: { a: 'b' }, messageRetentionDuration: '86400s' };
  const made = await call('PUT', 'topics/shaped', topic);
  expect(made.body).toMatchObject(topic);
  expect(definition.checkBody('Topic', made.body)).toBeUndefined();
  expect((await call('PUT', 'topics/shaped', topic)).status).toBe(409);
  expect((await call('PUT', 'topics/other', { messageRetentionDuration: '99999999s' })).status).toBe(400);
  expect((await call('PUT', 'topics/other', { colour: 'red' })).status).toBe(400);
  const changed = await call('PATCH', 'topics/shaped', { topic: { labels: { c: 'd' } }, updateMask: 'labels' });
  expect(changed.body).toMatchObject({ labels: { c: 'd' }, messageRetentionDuration: '86400s' });
  const subscription = await subscribe('shaped', 'shaped', { expirationPolicy: {} });
  expect(subscription.body).toMatchObject({ ackDeadlineSeconds: 10, expirationPolicy: {}, state: 'ACTIVE' });
  expect(definition.checkBody('Subscription', subscription.body)).toBeUndefined();
  await call('DELETE', 'topics/shaped');
  expect((await call('GET', 'subscriptions/shaped')).body.topic).toBe('_deleted-topic_');
});

it('keeps messages that nobody has acknowledged through a kill -9', async () => {
  await call('PUT', 'topics/kept', {});
  await subscribe('kept', 'kept');
  await publish('kept', { text: 'one' }, { text: 'two' }, { text: 'three' });
  const [first] = await pull('kept', 1);
  await call('POST', 'subscriptions/kept:acknowledge', { ackIds: [first?.ackId ?? ''] });
  await cloud.kill();
  await cloud.start();
  expect(texts(await pull('kept'))).toEqual(['two', 'three']);
});

it('delivers again what is given back, and nothing while it is leased', async () => {
  await call('PUT', 'topics/again', {});
  await subscribe('again', 'again');
  await publish('again', { text: 'x' });
  const [delivered] = await pull('again');
  expect(await pull('again')).toEqual([]);
  await call('POST', 'subscriptions/again:modifyAckDeadline', {
    ackIds: [delivered?.ackId ?? ''],
    ackDeadlineSeconds: 0,
  });
  expect(texts(await pull('again'))).toEqual(['x']);
});

it('keeps the order of a key: what comes later waits for what is out', async () => {
  await call('PUT', 'topics/ordered', {});
  await subscribe('ordered', 'ordered', { enableMessageOrdering: true });
  const keyed = (text: string, orderingKey: string): JsonObject => ({ text, orderingKey });
  await publish('ordered', keyed('a1', 'a'), keyed('a2', 'a'), keyed('b1', 'b'));
  const [first] = await pull('ordered', 1);
  expect(first?.text).toBe('a1');
  expect(texts(await pull('ordered'))).toEqual(['b1']);
  const ackIds = [first?.ackId ?? ''];
  await call('POST', 'subscriptions/ordered:modifyAckDeadline', { ackIds, ackDeadlineSeconds: 0 });
  expect(texts(await pull('ordered'))).toEqual(['a1', 'a2']);
});

it('filters by attributes, and refuses a filter that it does not understand', async () => {
  const attributes = { kind: 'telemetry', site: 'eu-1' };
  for (const [filter, expected] of [
    ['attributes:kind', true],
    ['attributes.kind = "telemetry"', true],
    ['attributes.kind != "telemetry"', false],
    ['NOT attributes:nothing AND hasPrefix(attributes.site, "eu-")', true],
    ['attributes.kind = "x" OR (attributes:site AND NOT attributes:y)', true],
  ] as const)
    expect([filter, parseFilter(filter)(attributes)]).toEqual([filter, expected]);
  await call('PUT', 'topics/filtered', {});
  expect((await subscribe('bad', 'filtered', { filter: 'attributes.a = "b" AND c OR d' })).status).toBe(400);
  await subscribe('filtered', 'filtered', { filter: 'attributes.kind = "telemetry"' });
  await publish('filtered', { text: 'no', attributes: { kind: 'state' } }, { text: 'yes', attributes });
  expect(texts(await pull('filtered'))).toEqual(['yes']);
});

it('hands to the dead letter topic what was delivered too often', async () => {
  for (const topic of ['poison', 'dead']) await call('PUT', `topics/${topic}`, {});
  await subscribe('dead', 'dead');
  const deadLetterTopic = `projects/${project}/topics/dead`;
  await subscribe('poison', 'poison', { deadLetterPolicy: { deadLetterTopic, maxDeliveryAttempts: 5 } });
  await publish('poison', { text: 'bad' });
  for (let attempt = 1; attempt <= 5; attempt++) {
    const ackIds = (await pull('poison')).map(({ ackId }) => ackId);
    await call('POST', 'subscriptions/poison:modifyAckDeadline', { ackIds, ackDeadlineSeconds: 0 });
  }
  expect(await pull('poison')).toEqual([]);
  expect(texts(await pull('dead'))).toEqual(['bad']);
});
