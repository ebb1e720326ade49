/** What a topic and a subscription may look like: limits and defaults that Google's documentation gives. */
import type { Json, JsonObject } from '../../model/service.ts';
import { isObject } from './compute-definition.ts';
import { GoogleError } from './google-error.ts';
import { checkLabels } from './json-api.ts';
import { parseFilter } from './pubsub-filter.ts';
import type { QueueRules } from './pubsub-queue.ts';

const minute = 60;
const day = 24 * 3600;

const topicFields = ['labels', 'messageRetentionDuration', 'messageStoragePolicy', 'kmsKeyName', 'schemaSettings'];
const subscriptionFields = [
  'labels',
  'ackDeadlineSeconds',
  'messageRetentionDuration',
  'retainAckedMessages',
  'expirationPolicy',
  'deadLetterPolicy',
  'retryPolicy',
  'enableExactlyOnceDelivery',
  'pushConfig',
];

/** `600s` or `3.5s` in seconds. */
export function seconds(value: Json | undefined, fallback: number): number {
  if (value === undefined || value === null) return fallback;
  const found = /^(\d+(?:\.\d+)?)s$/.exec(String(value));
  if (!found) throw new GoogleError('invalid', `Invalid duration ${JSON.stringify(value)}`);
  return Number(found[1]);
}

function checkRange(name: string, value: Json | undefined, from: number, to: number): void {
  if (value === undefined) return;
  const given = seconds(value, 0);
  if (given < from || given > to) throw new GoogleError('invalid', `${name} must be between ${from}s and ${to}s`);
}

export function checkId(id: string): void {
  if (!/^[A-Za-z][\w.~+%-]{2,254}$/.test(id) || id.startsWith('goog'))
    throw new GoogleError('invalid', `Invalid resource name given (name=${id}).`);
}

export function checkedTopic(topic: JsonObject): JsonObject {
  checkLabels(topic.labels);
  checkRange('messageRetentionDuration', topic.messageRetentionDuration, 10 * minute, 31 * day);
  for (const field of ['ingestionDataSourceSettings', 'messageTransforms', 'schemaSettings'])
    if (isSet(topic[field])) throw new GoogleError('notImplemented', `${field} is not served by the local cloud`);
  return withoutEmpty({ ...topic, state: 'ACTIVE' });
}

export function checkedSubscription(subscription: JsonObject): JsonObject {
  checkLabels(subscription.labels);
  const pushed = isObject(subscription.pushConfig) && isSet(subscription.pushConfig.pushEndpoint);
  if (pushed) throw new GoogleError('notImplemented', 'push delivery is not served by the local cloud');
  for (const field of ['bigqueryConfig', 'cloudStorageConfig', 'bigtableConfig', 'messageTransforms'])
    if (isSet(subscription[field]))
      throw new GoogleError('notImplemented', `${field} is not served by the local cloud`);
  checkRange('messageRetentionDuration', subscription.messageRetentionDuration, 10 * minute, 31 * day);
  const deadline = Number(subscription.ackDeadlineSeconds ?? 10) || 10;
  if (deadline < 10 || deadline > 600)
    throw new GoogleError('invalid', 'ackDeadlineSeconds must be between 10 and 600');
  const { expirationPolicy, deadLetterPolicy, filter } = subscription;
  const ttl = isObject(expirationPolicy) ? expirationPolicy.ttl : undefined;
  if (ttl !== undefined && ttl !== null && seconds(ttl, 0) < day)
    throw new GoogleError('invalid', 'expirationPolicy.ttl must be at least one day');
  if (isObject(deadLetterPolicy)) {
    const attempts = Number(deadLetterPolicy.maxDeliveryAttempts ?? 5) || 5;
    if (attempts < 5 || attempts > 100)
      throw new GoogleError('invalid', 'maxDeliveryAttempts must be between 5 and 100');
  }
  if (typeof filter === 'string' && filter) parseFilter(filter);
  return {
    ...withoutEmpty(subscription),
    pushConfig: {},
    ackDeadlineSeconds: deadline,
    messageRetentionDuration: subscription.messageRetentionDuration ?? `${7 * day}s`,
    // Empty means that it never expires; absent, that it does after 31 days without use.
    expirationPolicy: expirationPolicy ?? { ttl: `${31 * day}s` },
    state: 'ACTIVE',
  };
}

/** The changes that a mask names, taken from `given`. */
export function masked(kind: 'topic' | 'subscription', given: JsonObject, mask: Json | undefined): JsonObject {
  const allowed = kind === 'topic' ? topicFields : subscriptionFields;
  const fields = String(mask ?? '')
    .split(',')
    .map((field) => field.trim().replace(/_([a-z])/g, (_, letter: string) => letter.toUpperCase()))
    .filter(Boolean);
  if (fields.length === 0) throw new GoogleError('invalid', 'The update_mask must be given and not be empty.');
  const changes: JsonObject = {};
  for (const path of fields) {
    const [field = ''] = path.split('.');
    if (!allowed.includes(field))
      throw new GoogleError('invalid', `Invalid update_mask: ${path} of a ${kind} cannot be changed`);
    changes[field] = given[field] ?? null;
  }
  return changes;
}

export function queueRules(subscription: JsonObject): QueueRules {
  const { ackDeadlineSeconds, messageRetentionDuration, enableMessageOrdering, retryPolicy, deadLetterPolicy } =
    subscription;
  return {
    ackDeadlineMs: Number(ackDeadlineSeconds) * 1000,
    retentionMs: seconds(messageRetentionDuration, 7 * day) * 1000,
    ordered: enableMessageOrdering === true,
    backoff: isObject(retryPolicy)
      ? {
          minimumMs: seconds(retryPolicy.minimumBackoff, 10) * 1000,
          maximumMs: seconds(retryPolicy.maximumBackoff, 600) * 1000,
        }
      : undefined,
    maxAttempts: isObject(deadLetterPolicy) ? Number(deadLetterPolicy.maxDeliveryAttempts ?? 5) || 5 : undefined,
  };
}

const isSet = (value: Json | undefined): boolean =>
  value !== undefined &&
  value !== null &&
  value !== '' &&
  !(Array.isArray(value) && value.length === 0) &&
  !(isObject(value) && Object.keys(value).length === 0);

/** Clients send empty maps and defaults for what was not given. An empty `expirationPolicy` means something. */
export function withoutEmpty(resource: JsonObject): JsonObject {
  return Object.fromEntries(
    Object.entries(resource).filter(([key, value]) => key === 'expirationPolicy' || (isSet(value) && value !== false)),
  );
}
