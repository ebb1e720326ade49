/** Calls on buckets, their policies and their notifications. */
import type { Json, JsonObject } from '../../model/service.ts';
import { asJson, changedPolicy, emptyPolicy, type Policy } from './access.ts';
import { GoogleError } from './google-error.ts';
import { page } from './json-api.ts';
import { storageAgent } from './projects.ts';
import { changedBucket, checkBucketName, nested, newBucket } from './storage-bucket.ts';
import { conditionsOf, requireConditions } from './storage-preconditions.ts';
import { type KeptBucket, type StorageState, topicOf } from './storage-state.ts';

export interface StorageCall {
  /** `buckets.insert`. */
  id: string;
  path: Record<string, string>;
  query: URLSearchParams;
  content: JsonObject;
  caller: string;
}

const permissions: Readonly<Record<string, string>> = {
  insert: 'create',
  patch: 'update',
  lockRetentionPolicy: 'update',
};

/** The body of the answer; null for none. */
export function bucketCall(state: StorageState, { id, path, query, content, caller }: StorageCall): Json {
  const [collection, verb = ''] = id.split('.');
  if (id === 'buckets.insert' || id === 'buckets.list') {
    const project = query.get('project');
    if (project !== state.project)
      throw new GoogleError(project === null ? 'required' : 'forbidden', `Required parameter: project (${project})`);
    state.access.require(caller, `storage.buckets.${permissions[verb] ?? verb}`);
    return verb === 'insert' ? create(state, content) : list(state, query);
  }
  if (id === 'projects.serviceAccount.get') {
    if (path.projectId !== state.project) throw new GoogleError('forbidden', `Unknown project ${path.projectId}`);
    state.access.require(caller, 'resourcemanager.projects.get');
    return { kind: 'storage#serviceAccount', email_address: storageAgent(state.project) };
  }
  const bucket = path.bucket ?? '';
  const kept = state.find(bucket);
  if (collection === 'notifications') {
    state.access.require(
      caller,
      verb === 'insert' || verb === 'delete' ? 'storage.buckets.update' : 'storage.buckets.get',
      kept.policy,
    );
    return notificationCall(state, kept, verb, path.notification, content);
  }
  if (verb !== 'testIamPermissions')
    state.access.require(caller, `storage.buckets.${permissions[verb] ?? verb}`, kept.policy);
  // A bucket has a metageneration alone.
  const metageneration = Number(kept.resource.metageneration);
  const { metagenerationMatch, metagenerationNotMatch } = conditionsOf(query);
  requireConditions({ metagenerationMatch, metagenerationNotMatch }, { ...asVersion, metageneration });
  switch (verb) {
    case 'get':
      return kept.resource;
    case 'patch':
    case 'update':
      kept.resource = changedBucket(kept.resource, content, verb === 'patch');
      state.buckets.save();
      return kept.resource;
    case 'lockRetentionPolicy': {
      const policy = nested(kept.resource, 'retentionPolicy');
      if (policy.retentionPeriod === undefined) throw new GoogleError('invalid', 'The bucket has no retention policy.');
      kept.resource = changedBucket(kept.resource, { retentionPolicy: { ...policy, isLocked: true } }, true);
      kept.resource.retentionPolicy = { ...policy, isLocked: true };
      state.buckets.save();
      return kept.resource;
    }
    case 'delete':
      if (!state.objects(bucket).isEmpty)
        throw new GoogleError('conflict', 'The bucket you tried to delete is not empty.');
      state.remove(bucket);
      return null;
    case 'getIamPolicy':
      return shownPolicy(bucket, kept.policy);
    case 'setIamPolicy':
      setPolicy(kept, content);
      state.buckets.save();
      return shownPolicy(bucket, kept.policy);
    default:
      return {
        kind: 'storage#testIamPermissionsResponse',
        permissions: state.access.held(caller, query.getAll('permissions'), kept.policy),
      };
  }
}

/** For preconditions, which speak of an object's version. */
const asVersion = { name: '', generation: '0', size: 0, crc32c: '', metadata: {}, timeCreated: '', updated: '' };

function create(state: StorageState, content: JsonObject): Json {
  const name = String(content.name ?? '');
  checkBucketName(name);
  if (state.buckets.items.has(name) || state.isHeld(name))
    throw new GoogleError(
      'conflict',
      'The requested bucket name is not available. The bucket namespace is shared by all users of the system. Please select a different name and try again.',
    );
  const resource = newBucket(content, name, state.project);
  state.buckets.set(name, { resource, policy: emptyPolicy, notifications: [], nextNotification: 1 });
  return resource;
}

function list(state: StorageState, query: URLSearchParams): Json {
  const prefix = query.get('prefix') ?? '';
  const names = [...state.buckets.items.keys()].filter((name) => name.startsWith(prefix)).sort();
  const { items, next } = page(names, Number(query.get('maxResults') ?? 0) || 1000, query.get('pageToken'));
  return { kind: 'storage#buckets', items: items.map((name) => state.find(name).resource), ...next };
}

function setPolicy(kept: KeptBucket, content: JsonObject): void {
  const bindings = Array.isArray(content.bindings) ? content.bindings : [];
  const isPublic = JSON.stringify(bindings).match(/"all(Authenticated)?Users"/) !== null;
  if (isPublic && nested(kept.resource, 'iamConfiguration').publicAccessPrevention === 'enforced')
    throw new GoogleError(
      'conditionNotMet',
      'The member bindings allUsers and allAuthenticatedUsers are not allowed since public access prevention is enforced.',
    );
  try {
    kept.policy = changedPolicy(kept.policy, content);
  } catch (error) {
    // The same conflict, in Cloud Storage's words.
    if (error instanceof GoogleError && error.reason === 'aborted')
      throw new GoogleError('conditionNotMet', 'At least one of the pre-conditions you specified did not hold.');
    throw error;
  }
}

const shownPolicy = (bucket: string, policy: Policy): Json => ({
  kind: 'storage#policy',
  resourceId: `projects/_/buckets/${bucket}`,
  ...asJson(policy),
});

function notificationCall(
  state: StorageState,
  kept: KeptBucket,
  verb: string,
  id: string | undefined,
  content: JsonObject,
): Json {
  if (verb === 'list') return { kind: 'storage#notifications', items: kept.notifications };
  if (verb === 'insert') {
    const { topic, payload_format } = content;
    if (!/^\/\/pubsub\.googleapis\.com\/projects\/[^/]+\/topics\/[^/]+$/.test(String(topic)))
      throw new GoogleError('invalid', 'Invalid topic: //pubsub.googleapis.com/projects/<project>/topics/<topic>');
    if (payload_format !== 'JSON_API_V1' && payload_format !== 'NONE')
      throw new GoogleError('required', 'payload_format is JSON_API_V1 or NONE');
    if (!state.publisher.may(topicOf(topic)))
      throw new GoogleError(
        'invalid',
        `The service account '${storageAgent(state.project)}' does not have permission to publish messages to the Cloud Pub/Sub topic '${topic}', or that topic does not exist.`,
      );
    const number = String(kept.nextNotification++);
    const made: JsonObject = { ...content, kind: 'storage#notification', id: number, etag: number };
    kept.notifications.push(made);
    state.buckets.save();
    return made;
  }
  const found = kept.notifications.find((one) => one.id === id);
  if (!found) throw new GoogleError('notFound', `Notification ${id} not found`);
  if (verb === 'get') return found;
  kept.notifications = kept.notifications.filter((one) => one !== found);
  state.buckets.save();
  return null;
}
