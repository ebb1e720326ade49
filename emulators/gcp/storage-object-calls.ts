/** Calls on objects that carry no bytes: metadata, listing, deleting, copying, composing. */
import { linkSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import type { Json, JsonObject } from '../../model/service.ts';
import { isObject } from './compute-definition.ts';
import { GoogleError } from './google-error.ts';
import { mergePatch } from './json-api.ts';
import type { StorageCall } from './storage-bucket-calls.ts';
import { Content, eachPiece } from './storage-content.ts';
import type { Place, Version } from './storage-objects.ts';
import { type Conditions, conditionsOf, requireConditions } from './storage-preconditions.ts';
import type { StorageState } from './storage-state.ts';

/** What the caller sets of an object. */
const settable = [
  'cacheControl',
  'contentDisposition',
  'contentEncoding',
  'contentLanguage',
  'contentType',
  'customTime',
  'eventBasedHold',
  'kmsKeyName',
  'metadata',
  'storageClass',
  'temporaryHold',
];

export function settableMetadata(given: JsonObject): JsonObject {
  return Object.fromEntries(
    Object.entries(given).filter(([key, value]) => settable.includes(key) && value !== null && value !== undefined),
  );
}

export function checkObjectName(name: string): void {
  const bytes = Buffer.byteLength(name);
  if (bytes === 0) throw new GoogleError('required', 'Required');
  if (bytes > 1024) throw new GoogleError('invalid', 'The maximum object length is 1024 characters.');
  if (/[\r\n]/.test(name) || name === '.' || name === '..' || name.startsWith('.well-known/acme-challenge/'))
    throw new GoogleError('invalid', `Disallowed object name ${JSON.stringify(name)}`);
}

/** A version becomes live: everything that is checked at that moment is checked here, without interruption. */
export function commit(
  state: StorageState,
  bucket: string,
  version: Parameters<ReturnType<StorageState['objects']>['create']>[0],
  conditions: Conditions,
  store: (file: string) => void,
): Version {
  const objects = state.objects(bucket);
  const present = objects.live(version.name);
  requireConditions(conditions, present);
  const versioned = state.isVersioned(bucket);
  if (!versioned) state.requireUnprotected(bucket, present);
  const { created, before } = objects.create(version, versioned, store);
  if (before)
    state.event(bucket, versioned ? 'OBJECT_ARCHIVE' : 'OBJECT_DELETE', before, {
      overwrittenByGeneration: created.generation,
    });
  state.event(bucket, 'OBJECT_FINALIZE', created, before ? { overwroteGeneration: before.generation } : {});
  return created;
}

/** The body of the answer; null for none, undefined where nothing has changed since (`ifGenerationNotMatch`). */
export function objectCall(state: StorageState, call: StorageCall): Json | undefined {
  const { id, path, query, content, caller } = call;
  const verb = id.split('.')[1] ?? '';
  const bucket = path.bucket ?? path.destinationBucket ?? '';
  const { policy } = state.find(bucket);
  const may = (permission: string, on = policy): void =>
    state.access.require(caller, `storage.objects.${permission}`, on);
  switch (verb) {
    case 'list':
      may('list');
      return list(state, bucket, query);
    case 'compose':
      may('create');
      may('get');
      return compose(state, bucket, path.destinationObject ?? '', query, content);
    case 'copy':
    case 'rewrite': {
      may('get', state.find(path.sourceBucket ?? '').policy);
      may('create');
      const created = copy(state, call);
      if (verb === 'copy') return state.shown(bucket, created);
      const size = String(created.size);
      return {
        kind: 'storage#rewriteResponse',
        done: true,
        totalBytesRewritten: size,
        objectSize: size,
        resource: state.shown(bucket, created),
      };
    }
  }
  may(verb === 'patch' ? 'update' : verb);
  const generation = query.get('generation') ?? undefined;
  const version = state.version(bucket, path.object ?? '', generation);
  const conditions = conditionsOf(query);
  if (verb === 'get') {
    const { generationNotMatch, metagenerationNotMatch, ...match } = conditions;
    requireConditions(match, version);
    const unchanged =
      generationNotMatch === version.generation || metagenerationNotMatch === String(version.metageneration);
    return unchanged ? undefined : state.shown(bucket, version);
  }
  requireConditions(conditions, version);
  if (verb === 'delete') {
    remove(state, bucket, version, generation !== undefined);
    return null;
  }
  const merged = verb === 'patch' ? mergePatch(version.metadata, settableOrNull(content)) : settableMetadata(content);
  state.objects(bucket).update(version, isObject(merged) ? merged : {});
  state.event(bucket, 'OBJECT_METADATA_UPDATE', version);
  return state.shown(bucket, version);
}

function remove(state: StorageState, bucket: string, version: Version, exact: boolean): void {
  if (!exact && state.isVersioned(bucket)) {
    state.objects(bucket).archive(version);
    state.event(bucket, 'OBJECT_ARCHIVE', version);
    return;
  }
  state.requireUnprotected(bucket, version);
  state.objects(bucket).remove(version);
  state.event(bucket, 'OBJECT_DELETE', version);
}

function list(state: StorageState, bucket: string, query: URLSearchParams): Json {
  for (const name of ['matchGlob', 'softDeleted', 'filter'])
    if (query.has(name)) throw new GoogleError('notImplemented', `${name} is not served by the local cloud`);
  const token = query.get('pageToken');
  const { items, prefixes, next } = state.objects(bucket).list({
    prefix: query.get('prefix') ?? '',
    delimiter: query.get('delimiter') ?? '',
    includeTrailing: query.get('includeTrailingDelimiter') === 'true',
    startOffset: query.get('startOffset') ?? '',
    endOffset: query.get('endOffset') ?? '',
    versions: query.get('versions') === 'true',
    after: token ? placeOf(token) : undefined,
    max: Math.min(Number(query.get('maxResults') ?? 0) || 1000, 1000),
  });
  return {
    kind: 'storage#objects',
    ...(items.length > 0 ? { items: items.map((version) => state.shown(bucket, version)) } : {}),
    ...(prefixes.length > 0 ? { prefixes } : {}),
    ...(next ? { nextPageToken: Buffer.from(JSON.stringify(next)).toString('base64url') } : {}),
  };
}

const Token = z.object({ name: z.string(), generation: z.string() });

function placeOf(token: string): Place {
  try {
    return Token.parse(JSON.parse(Buffer.from(token, 'base64url').toString('utf8')));
  } catch {
    throw new GoogleError('invalid', 'Invalid pageToken');
  }
}

/** The bytes are not copied but shared: a version's file never changes. */
function copy(state: StorageState, { path, query, content }: StorageCall): Version {
  const { sourceBucket = '', sourceObject = '', destinationBucket = '', destinationObject = '' } = path;
  const source = state.version(sourceBucket, sourceObject, query.get('sourceGeneration') ?? undefined);
  requireConditions(conditionsOf(query, 'Source'), source);
  checkObjectName(destinationObject);
  const given = settableMetadata(content);
  const { size, md5, crc32c, componentCount } = source;
  const { temporaryHold: _, eventBasedHold: __, ...inherited } = source.metadata;
  const metadata = Object.keys(given).length > 0 ? given : inherited;
  const file = state.objects(sourceBucket).content(source);
  return commit(
    state,
    destinationBucket,
    {
      name: destinationObject,
      size,
      crc32c,
      metadata,
      ...(md5 === undefined ? {} : { md5 }),
      ...(componentCount === undefined ? {} : { componentCount }),
    },
    conditionsOf(query),
    (to) => linkSync(file, to),
  );
}

const Sources = z
  .array(
    z.object({
      name: z.string(),
      generation: z.coerce.string().optional(),
      objectPreconditions: z.object({ ifGenerationMatch: z.coerce.string().optional() }).optional(),
    }),
  )
  .min(1)
  .max(32);

function compose(state: StorageState, bucket: string, name: string, query: URLSearchParams, body: JsonObject): Json {
  checkObjectName(name);
  const { data: sources } = Sources.safeParse(body.sourceObjects);
  if (!sources) throw new GoogleError('invalid', 'Between 1 and 32 source objects are required.');
  const versions = sources.map((source) => {
    const version = state.version(bucket, source.name, source.generation);
    requireConditions({ generationMatch: source.objectPreconditions?.ifGenerationMatch }, version);
    return version;
  });
  requireConditions(conditionsOf(query), state.objects(bucket).live(name));
  const content = new Content(join(state.folder, 'uploads', `compose-${process.hrtime.bigint()}`));
  try {
    for (const version of versions) eachPiece(state.objects(bucket).content(version), (piece) => content.write(piece));
    const { size, crc32c } = content.digest();
    const componentCount = versions.reduce((sum, version) => sum + (version.componentCount ?? 1), 0);
    const metadata = settableMetadata(isObject(body.destination) ? body.destination : {});
    const created = commit(
      state,
      bucket,
      { name, size, crc32c, metadata, componentCount },
      conditionsOf(query),
      (file) => content.store(file),
    );
    return state.shown(bucket, created);
  } finally {
    content.discard();
  }
}

const settableOrNull = (given: JsonObject): JsonObject =>
  Object.fromEntries(Object.entries(given).filter(([key]) => settable.includes(key)));
