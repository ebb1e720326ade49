/** The local Pub/Sub over REST: topics, subscriptions, messages, policies. Delivery is by `pull`; not served: push, schemas, snapshots, seek. */
import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { z } from 'zod';
import type { Json, JsonObject } from '../../model/service.ts';
import { type Access, asJson, changedPolicy, emptyPolicy, Policy } from './access.ts';
import { isObject, loadDefinition } from './compute-definition.ts';
import { GoogleError } from './google-error.ts';
import { type Answer, type Api, type ApiRequest, matched, page } from './json-api.ts';
import { JsonStore } from './json-store.ts';
import { type Filter, parseFilter } from './pubsub-filter.ts';
import { type Message, Queue } from './pubsub-queue.ts';
import { checkedSubscription, checkedTopic, checkId, masked, queueRules, withoutEmpty } from './pubsub-rules.ts';

const Kept = z.object({ resource: z.record(z.string(), z.json()), policy: Policy.default(emptyPolicy) });
type Kept = z.infer<typeof Kept>;
const Published = z.array(
  z.object({
    data: z.string().optional(),
    attributes: z.record(z.string(), z.string()).optional(),
    orderingKey: z.string().optional(),
  }),
);
type Published = z.infer<typeof Published>;

/** How long a pull waits for a message. */
const pullWaitMs = 5000;
const maxRequestBytes = 10 * 1024 * 1024;
const deletedTopic = '_deleted-topic_';

const permissions: Readonly<Record<string, string>> = {
  patch: 'update',
  pull: 'consume',
  acknowledge: 'consume',
  modifyAckDeadline: 'consume',
};

export class PubSub implements Api {
  readonly #definition = loadDefinition('pubsub.v1');
  readonly #folder: string;
  readonly #project: string;
  readonly #access: Access;
  readonly #topics: JsonStore<Kept>;
  readonly #subscriptions: JsonStore<Kept>;
  readonly #queues = new Map<string, { queue: Queue; filter: Filter | undefined }>();
  #lastId = 0;

  constructor(state: string, project: string, access: Access) {
    this.#folder = join(state, 'pubsub');
    this.#project = project;
    this.#access = access;
    this.#topics = new JsonStore(join(this.#folder, 'topics.json'), Kept);
    this.#subscriptions = new JsonStore(join(this.#folder, 'subscriptions.json'), Kept);
    for (const name of this.#subscriptions.items.keys()) this.#open(name);
  }

  async handle(request: ApiRequest): Promise<Answer> {
    const { id, path, content } = matched(this.#definition, request);
    if (path.projectsId !== this.#project)
      throw new GoogleError('forbidden', `User not authorized to perform this action on projects/${path.projectsId}.`);
    const verb = id.split('.').at(-1) ?? '';
    const kind =
      path.subscriptionsId === undefined && id.startsWith('pubsub.projects.topics') ? 'topic' : 'subscription';
    const name = `projects/${this.#project}/${kind}s/${path.topicsId ?? path.subscriptionsId ?? ''}`;
    const kept = (kind === 'topic' ? this.#topics : this.#subscriptions).items.get(name);
    // What is attached to a topic is told to whoever may look at the topic.
    const needed = id === 'pubsub.projects.topics.subscriptions.list' ? 'get' : (permissions[verb] ?? verb);
    if (verb !== 'testIamPermissions') this.#access.require(request.caller, `pubsub.${kind}s.${needed}`, kept?.policy);
    const body =
      kind === 'topic'
        ? this.#topicCall(id, verb, name, content, request)
        : await this.#subscriptionCall(verb, name, content, request);
    return { status: 200, body };
  }

  stop(): void {
    for (const { queue } of this.#queues.values()) queue.close();
  }

  /** Where there is such a topic, and the caller may publish to it. */
  mayPublish(topic: string, caller: string): boolean {
    const kept = this.#topics.items.get(topic);
    return kept !== undefined && this.#access.allows(caller, 'pubsub.topics.publish', kept.policy);
  }

  /** A message from a service of this cloud; where the topic is gone, nothing happens. */
  notify(topic: string, message: Published[number]): void {
    if (this.#topics.items.has(topic)) this.#publish(topic, [message]);
  }

  #topicCall(id: string, verb: string, name: string, content: JsonObject, request: ApiRequest): Json {
    const query = request.url.searchParams;
    if (id === 'pubsub.projects.topics.subscriptions.list') {
      this.#find('topic', name);
      const all = this.#subscriptionsOf(name);
      const { items, next } = page(all, sizeOf(query), query.get('pageToken'));
      return { subscriptions: items, ...next };
    }
    if (verb === 'create') {
      checkId(name.split('/').at(-1) ?? '');
      if (this.#topics.items.has(name))
        throw new GoogleError('conflict', `Resource already exists in the project (resource=${shortOf(name)}).`);
      const resource = { ...checkedTopic(content), name };
      this.#topics.set(name, { resource, policy: emptyPolicy });
      return resource;
    }
    if (verb === 'list') return this.#list('topic', this.#topics, query);
    const kept = this.#find('topic', name);
    switch (verb) {
      case 'get':
        return kept.resource;
      case 'patch': {
        const given = isObject(content.topic) ? content.topic : {};
        const changes = masked('topic', given, content.updateMask);
        kept.resource = { ...checkedTopic(withoutNull({ ...kept.resource, ...changes })), name };
        this.#topics.save();
        return kept.resource;
      }
      case 'delete':
        for (const subscription of this.#subscriptionsOf(name)) {
          const found = this.#subscriptions.items.get(subscription);
          if (found) found.resource.topic = deletedTopic;
        }
        this.#subscriptions.save();
        this.#topics.delete(name);
        return {};
      case 'publish':
        return { messageIds: this.#publish(name, checkedMessages(content.messages)) };
      default:
        return this.#policyCall(verb, kept, this.#topics, content, request);
    }
  }

  async #subscriptionCall(verb: string, name: string, content: JsonObject, request: ApiRequest): Promise<Json> {
    if (verb === 'create') return this.#createSubscription(name, content, request.caller);
    if (verb === 'list') return this.#list('subscription', this.#subscriptions, request.url.searchParams);
    const kept = this.#find('subscription', name);
    switch (verb) {
      case 'get':
        return kept.resource;
      case 'patch': {
        const given = isObject(content.subscription) ? content.subscription : {};
        const changes = masked('subscription', given, content.updateMask);
        kept.resource = { ...checkedSubscription(withoutNull({ ...kept.resource, ...changes })), name };
        this.#subscriptions.save();
        this.#queue(name).queue.rules = queueRules(kept.resource);
        return kept.resource;
      }
      case 'delete':
        this.#subscriptions.delete(name);
        this.#queues.get(name)?.queue.remove();
        this.#queues.delete(name);
        return {};
      case 'detach':
        kept.resource.detached = true;
        this.#subscriptions.save();
        return {};
      case 'pull':
        return this.#pull(name, kept, content, request.signal);
      case 'acknowledge':
        this.#queue(name).queue.acknowledge(ackIds(content));
        return {};
      case 'modifyAckDeadline': {
        const deadline = Number(content.ackDeadlineSeconds ?? 0);
        if (!(deadline >= 0 && deadline <= 600))
          throw new GoogleError('invalid', 'ackDeadlineSeconds must be between 0 and 600');
        this.#queue(name).queue.modifyDeadline(ackIds(content), deadline);
        return {};
      }
      default:
        return this.#policyCall(verb, kept, this.#subscriptions, content, request);
    }
  }

  #createSubscription(name: string, content: JsonObject, caller: string): Json {
    checkId(name.split('/').at(-1) ?? '');
    const topic = String(content.topic ?? '');
    if (!/^projects\/[^/]+\/topics\/[^/]+$/.test(topic)) throw new GoogleError('invalid', 'topic is required');
    this.#access.require(caller, 'pubsub.topics.attachSubscription', this.#find('topic', topic).policy);
    if (this.#subscriptions.items.has(name))
      throw new GoogleError('conflict', `Resource already exists in the project (resource=${shortOf(name)}).`);
    const { deadLetterPolicy } = content;
    if (isObject(deadLetterPolicy) && Object.keys(deadLetterPolicy).length > 0)
      this.#find('topic', String(deadLetterPolicy.deadLetterTopic));
    const resource = { ...checkedSubscription(content), name };
    this.#subscriptions.set(name, { resource, policy: emptyPolicy });
    this.#open(name);
    return resource;
  }

  async #pull(name: string, { resource }: Kept, content: JsonObject, signal: AbortSignal): Promise<Json> {
    const max = Math.min(Number(content.maxMessages ?? 0), 1000);
    if (!(max > 0)) throw new GoogleError('invalid', 'maxMessages must be a positive number');
    if (resource.detached === true) throw new GoogleError('failedPrecondition', 'The subscription is detached.');
    const deadline = Date.now() + pullWaitMs;
    for (;;) {
      const { queue } = this.#queue(name);
      const received = signal.aborted ? [] : queue.pull(max);
      const left = deadline - Date.now();
      if (received.length === 0 && content.returnImmediately !== true && left > 0 && !signal.aborted) {
        await queue.wait(left, signal);
        continue;
      }
      if (received.length === 0) return {};
      return {
        receivedMessages: received.map(({ ackId, message, attempts }) => ({
          ackId,
          message: message as JsonObject,
          ...(queue.rules.maxAttempts === undefined ? {} : { deliveryAttempt: attempts }),
        })),
      };
    }
  }

  #policyCall(verb: string, kept: Kept, store: JsonStore<Kept>, content: JsonObject, request: ApiRequest): JsonObject {
    if (verb === 'getIamPolicy') return asJson(kept.policy);
    if (verb === 'setIamPolicy') {
      kept.policy = changedPolicy(kept.policy, content.policy);
      store.save();
      return asJson(kept.policy);
    }
    const asked = Array.isArray(content.permissions) ? content.permissions.map(String) : [];
    return { permissions: this.#access.held(request.caller, asked, kept.policy) };
  }

  #publish(topic: string, messages: Published): string[] {
    const publishTime = new Date().toISOString();
    const complete: Message[] = messages.map(({ data, attributes, orderingKey }) => {
      this.#lastId = Math.max(this.#lastId + 1, Date.now() * 1000);
      return {
        messageId: String(this.#lastId),
        publishTime,
        ...(data ? { data } : {}),
        ...(attributes && Object.keys(attributes).length > 0 ? { attributes } : {}),
        ...(orderingKey ? { orderingKey } : {}),
      };
    });
    for (const name of this.#subscriptionsOf(topic)) {
      const { queue, filter } = this.#queue(name);
      queue.publish(filter ? complete.filter(({ attributes = {} }) => filter(attributes)) : complete);
    }
    return complete.map(({ messageId }) => messageId);
  }

  #subscriptionsOf(topic: string): string[] {
    return [...this.#subscriptions.items]
      .filter(([, { resource }]) => resource.topic === topic && resource.detached !== true)
      .map(([name]) => name);
  }

  #open(name: string): void {
    const resource = this.#find('subscription', name).resource;
    const file = join(this.#folder, 'queues', `${createHash('sha256').update(name).digest('hex').slice(0, 32)}.log`);
    const queue = new Queue(file, queueRules(resource), (message, attempts) => {
      const policy = this.#subscriptions.items.get(name)?.resource.deadLetterPolicy;
      if (!isObject(policy)) return;
      const attributes = {
        ...message.attributes,
        CloudPubSubDeadLetterSourceSubscription: shortOf(name),
        CloudPubSubDeadLetterSourceSubscriptionProject: this.#project,
        CloudPubSubDeadLetterSourceDeliveryCount: String(attempts),
        CloudPubSubDeadLetterSourceTopicPublishTime: message.publishTime,
      };
      this.notify(String(policy.deadLetterTopic), { ...message, attributes });
    });
    const filter = typeof resource.filter === 'string' && resource.filter ? parseFilter(resource.filter) : undefined;
    this.#queues.set(name, { queue, filter });
  }

  #queue(name: string): { queue: Queue; filter: Filter | undefined } {
    const open = this.#queues.get(name);
    if (!open) throw new GoogleError('notFound', `Resource not found (resource=${shortOf(name)}).`);
    return open;
  }

  #find(kind: 'topic' | 'subscription', name: string): Kept {
    const found = (kind === 'topic' ? this.#topics : this.#subscriptions).items.get(name);
    if (!found) throw new GoogleError('notFound', `Resource not found (resource=${shortOf(name)}).`);
    return found;
  }

  #list(kind: 'topic' | 'subscription', store: JsonStore<Kept>, query: URLSearchParams): JsonObject {
    const { items, next } = page([...store.items.values()], sizeOf(query), query.get('pageToken'));
    return { [`${kind}s`]: items.map(({ resource }) => resource), ...next };
  }
}

const shortOf = (name: string): string => name.split('/').at(-1) ?? '';
const sizeOf = (query: URLSearchParams): number => Math.min(Number(query.get('pageSize') ?? 0) || 100, 1000);
const withoutNull = (resource: JsonObject): JsonObject =>
  withoutEmpty(Object.fromEntries(Object.entries(resource).filter(([, value]) => value !== null)));

function ackIds(content: JsonObject): string[] {
  if (!Array.isArray(content.ackIds) || content.ackIds.length === 0)
    throw new GoogleError('invalid', 'No ack ids specified.');
  return content.ackIds.map(String);
}

function checkedMessages(given: Json | undefined): Published {
  const { data: messages } = Published.safeParse(given);
  if (!messages || messages.length === 0)
    throw new GoogleError('invalid', 'The list of messages is empty or malformed.');
  if (messages.length > 1000) throw new GoogleError('invalid', 'A publish request has at most 1000 messages.');
  let bytes = 0;
  for (const { data = '', attributes = {}, orderingKey = '' } of messages) {
    if (!data && Object.keys(attributes).length === 0)
      throw new GoogleError('invalid', 'One or more messages in the publish request is empty.');
    if (Object.keys(attributes).length > 100 || Buffer.byteLength(orderingKey) > 1024)
      throw new GoogleError('invalid', 'Too many attributes, or too long an ordering key.');
    bytes += (data.length * 3) / 4;
  }
  if (bytes > maxRequestBytes)
    throw new GoogleError('invalid', 'Request payload size exceeds the limit: 10485760 bytes.');
  return messages;
}
