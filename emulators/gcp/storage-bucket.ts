/** The bucket resource: what may be in it, what is filled in, what can change. https://cloud.google.com/storage/docs/json_api/v1/buckets */
import type { Json, JsonObject } from '../../model/service.ts';
import { isObject } from './compute-definition.ts';
import { regions } from './compute-kinds.ts';
import { GoogleError } from './google-error.ts';
import { checkLabels, mergePatch } from './json-api.ts';
import { projectNumber } from './projects.ts';

const storageClasses = ['STANDARD', 'NEARLINE', 'COLDLINE', 'ARCHIVE'];
const multiRegions = ['US', 'EU', 'ASIA'];
const dualRegions = ['NAM4', 'EUR4', 'EUR5', 'EUR7', 'EUR8', 'ASIA1'];
const lifecycleActions = ['Delete', 'SetStorageClass', 'AbortIncompleteMultipartUpload'];
const daySeconds = 24 * 3600;

/** What only the cloud sets, or cannot change after the creation. */
const fixed = [
  'kind',
  'id',
  'selfLink',
  'name',
  'projectNumber',
  'timeCreated',
  'generation',
  'location',
  'locationType',
];

export function checkBucketName(name: string): void {
  const parts = name.split('.');
  const wrong =
    !/^[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]$/.test(name) ||
    parts.some((part) => part.length > 63 || part.length === 0) ||
    /^\d+\.\d+\.\d+\.\d+$/.test(name) ||
    name.startsWith('goog') ||
    name.includes('google');
  if (wrong) throw new GoogleError('invalid', `Invalid bucket name: '${name}'`);
}

export function newBucket(given: JsonObject, name: string, project: string): JsonObject {
  const location = String(given.location ?? 'US').toUpperCase();
  const now = new Date().toISOString();
  return completed(
    {
      ...withoutNull(given),
      kind: 'storage#bucket',
      id: name,
      selfLink: `https://www.googleapis.com/storage/v1/b/${name}`,
      name,
      projectNumber: projectNumber(project),
      generation: String(Date.now() * 1000),
      location,
      locationType: locationType(location),
      storageClass: String(given.storageClass ?? 'STANDARD').toUpperCase(),
      timeCreated: now,
    },
    undefined,
    1,
  );
}

/** `patch` merges; `update` replaces what the caller may set. */
export function changedBucket(before: JsonObject, given: JsonObject, patch: boolean): JsonObject {
  if (given.location !== undefined && String(given.location).toUpperCase() !== before.location)
    throw new GoogleError('invalid', "The bucket's location cannot be changed.");
  const kept = Object.fromEntries(fixed.map((key) => [key, before[key] ?? null]));
  const merged = patch ? mergePatch(before, given) : withoutNull(given);
  return completed(
    { storageClass: 'STANDARD', ...(isObject(merged) ? merged : {}), ...kept },
    before,
    Number(before.metageneration) + 1,
  );
}

function completed(bucket: JsonObject, before: JsonObject | undefined, metageneration: number): JsonObject {
  check(bucket, before);
  const now = new Date().toISOString();
  const iam = isObject(bucket.iamConfiguration) ? bucket.iamConfiguration : {};
  const given = isObject(iam.uniformBucketLevelAccess) ? iam.uniformBucketLevelAccess : {};
  const earlier = nested(before, 'iamConfiguration', 'uniformBucketLevelAccess');
  const uniform: JsonObject =
    given.enabled === true
      ? { enabled: true, lockedTime: earlier.lockedTime ?? new Date(Date.now() + 90 * daySeconds * 1000).toISOString() }
      : { enabled: false };
  const soft = isObject(bucket.softDeletePolicy) ? bucket.softDeletePolicy : {};
  const seconds = String(soft.retentionDurationSeconds ?? 7 * daySeconds);
  const softBefore = nested(before, 'softDeletePolicy');
  const result: JsonObject = {
    ...bucket,
    iamConfiguration: {
      uniformBucketLevelAccess: uniform,
      bucketPolicyOnly: uniform,
      publicAccessPrevention: iam.publicAccessPrevention ?? 'inherited',
    },
    softDeletePolicy: {
      retentionDurationSeconds: seconds,
      ...(seconds === '0'
        ? {}
        : { effectiveTime: softBefore.retentionDurationSeconds === seconds ? (softBefore.effectiveTime ?? now) : now }),
    },
    ...retention(bucket, before, now),
    metageneration: String(metageneration),
    updated: now,
    etag: Buffer.from(`CA${metageneration}`).toString('base64'),
  };
  for (const key of ['acl', 'defaultObjectAcl']) delete result[key];
  for (const key of ['labels', 'encryption', 'cors', 'logging', 'website', 'lifecycle'])
    if (isEmpty(result[key])) delete result[key];
  return result;
}

function check(bucket: JsonObject, before: JsonObject | undefined): void {
  checkLabels(bucket.labels);
  if (!storageClasses.includes(String(bucket.storageClass)))
    throw new GoogleError('invalid', `Invalid storage class ${bucket.storageClass}`);
  const lifecycle = isObject(bucket.lifecycle) ? bucket.lifecycle : {};
  const rules = Array.isArray(lifecycle.rule) ? lifecycle.rule : [];
  if (rules.length > 100) throw new GoogleError('invalid', 'A lifecycle has at most 100 rules.');
  for (const rule of rules) {
    const action = isObject(rule) && isObject(rule.action) ? rule.action : {};
    const condition = isObject(rule) && isObject(rule.condition) ? rule.condition : {};
    if (!lifecycleActions.includes(String(action.type)))
      throw new GoogleError('invalid', `Invalid lifecycle action ${action.type}`);
    if (Object.keys(condition).length === 0)
      throw new GoogleError('invalid', 'A lifecycle rule needs at least one condition.');
    if (action.type === 'SetStorageClass' && !storageClasses.includes(String(action.storageClass)))
      throw new GoogleError('invalid', 'SetStorageClass needs a storageClass');
    const { age } = condition;
    if (age !== undefined && !(Number.isInteger(Number(age)) && Number(age) >= 0))
      throw new GoogleError('invalid', 'The age of a lifecycle rule is a number of days.');
  }
  const soft = isObject(bucket.softDeletePolicy) ? bucket.softDeletePolicy : {};
  const seconds = Number(soft.retentionDurationSeconds ?? 7 * daySeconds);
  if (seconds !== 0 && (seconds < 7 * daySeconds || seconds > 90 * daySeconds))
    throw new GoogleError('invalid', 'Soft delete policies retain for 0 or 7 to 90 days.');
  const iam = isObject(bucket.iamConfiguration) ? bucket.iamConfiguration : {};
  if (!['inherited', 'enforced', 'unspecified', undefined].includes(iam.publicAccessPrevention as string | undefined))
    throw new GoogleError('invalid', 'publicAccessPrevention is inherited or enforced');
  const uniform = nested(before, 'iamConfiguration', 'uniformBucketLevelAccess');
  if (uniform.enabled === true && !nested(bucket, 'iamConfiguration', 'uniformBucketLevelAccess').enabled)
    if (Date.parse(String(uniform.lockedTime)) < Date.now())
      throw new GoogleError('invalid', 'Uniform bucket-level access is locked and cannot be disabled.');
  const held = nested(before, 'retentionPolicy');
  if (
    held.isLocked === true &&
    Number(nested(bucket, 'retentionPolicy').retentionPeriod ?? 0) < Number(held.retentionPeriod)
  )
    throw new GoogleError('forbidden', 'A locked retention policy cannot be shortened or removed.');
  const key = nested(bucket, 'encryption').defaultKmsKeyName;
  if (key !== undefined && !/^projects\/[^/]+\/locations\/[^/]+\/keyRings\/[^/]+\/cryptoKeys\/[^/]+$/.test(String(key)))
    throw new GoogleError('invalid', 'Malformed Cloud KMS key name');
}

function retention(bucket: JsonObject, before: JsonObject | undefined, now: string): JsonObject {
  const period = nested(bucket, 'retentionPolicy').retentionPeriod;
  if (period === undefined) return {};
  const held = nested(before, 'retentionPolicy');
  const effectiveTime = held.retentionPeriod === String(period) ? (held.effectiveTime ?? now) : now;
  return {
    retentionPolicy: {
      retentionPeriod: String(period),
      effectiveTime,
      ...(held.isLocked === true ? { isLocked: true } : {}),
    },
  };
}

function locationType(location: string): string {
  if (multiRegions.includes(location)) return 'multi-region';
  if (dualRegions.includes(location)) return 'dual-region';
  if (regions.has(location.toLowerCase())) return 'region';
  throw new GoogleError('invalid', `The specified location constraint is not valid: ${location}`);
}

export function nested(resource: JsonObject | undefined, ...path: string[]): JsonObject {
  const found = path.reduce<Json | undefined>((value, key) => (isObject(value) ? value[key] : undefined), resource);
  return isObject(found) ? found : {};
}

const isEmpty = (value: Json | undefined): boolean =>
  value === null ||
  (Array.isArray(value) && value.length === 0) ||
  (isObject(value) && (Object.keys(value).length === 0 || (Array.isArray(value.rule) && value.rule.length === 0)));

const withoutNull = (resource: JsonObject): JsonObject =>
  Object.fromEntries(Object.entries(resource).filter(([, value]) => value !== null));
