/**
 * The local Secret Manager: secrets with labels, versions and IAM policies, checked against Google's discovery document.
 * Payloads lie in a file of the state folder that only its owner can read.
 */
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Json, JsonObject } from '../../model/service.ts';
import type { Answer } from './compute.ts';
import { type Called, isObject, loadDefinition } from './compute-definition.ts';

interface Version {
  name: string;
  createTime: string;
  state: 'ENABLED' | 'DISABLED' | 'DESTROYED';
  /** Base64; removed when the version is destroyed. */
  data?: string;
}
interface Kept {
  secret: JsonObject;
  policy: JsonObject;
  versions: Version[];
}

class SecretError extends Error {
  readonly code: number;
  readonly status: string;
  constructor(code: number, status: string, message: string) {
    super(message);
    this.code = code;
    this.status = status;
  }
}
const etag = (content: Json): string =>
  `"${createHash('sha256').update(JSON.stringify(content)).digest('hex').slice(0, 14)}"`;

export class SecretManager {
  readonly #definition = loadDefinition('secretmanager.v1');
  readonly #file: string;
  readonly #project: string;
  readonly #secrets: Map<string, Kept>;

  constructor(folder: string, project: string) {
    mkdirSync(folder, { recursive: true });
    this.#file = join(folder, 'secrets.json');
    this.#project = project;
    this.#secrets = new Map(Object.entries(read(this.#file)));
  }

  handle(httpMethod: string, url: URL, body: Json | undefined): Answer {
    try {
      const called = this.#definition.match(httpMethod, decodeURIComponent(url.pathname));
      if (!called) throw new SecretError(404, 'NOT_FOUND', 'this method is not served by the local Secret Manager');
      const content = isObject(body) ? body : {};
      const problem =
        this.#definition.checkQuery(called, url.searchParams) ??
        (called.requestSchema ? this.#definition.checkBody(called.requestSchema, content) : undefined);
      if (problem) throw new SecretError(400, 'INVALID_ARGUMENT', problem);
      if (called.path.projectsId !== this.#project)
        throw new SecretError(403, 'PERMISSION_DENIED', `project ${called.path.projectsId} does not exist here`);
      return { status: 200, body: this.#call(called, url.searchParams, content) };
    } catch (error) {
      if (!(error instanceof SecretError)) throw error;
      const { code, status, message } = error;
      return { status: code, body: { error: { code, message, status } } };
    }
  }

  #call({ id, path }: Called, query: URLSearchParams, body: JsonObject): Json {
    const verb = id.replace('secretmanager.projects.secrets.', '');
    const name = `projects/${this.#project}/secrets/${path.secretsId ?? query.get('secretId') ?? ''}`;
    if (verb === 'create') return this.#create(name, body);
    if (verb === 'list') return this.#list(query);
    const kept = this.#secrets.get(name);
    if (!kept) throw new SecretError(404, 'NOT_FOUND', `Secret [${name}] not found.`);
    switch (verb) {
      case 'get':
        return kept.secret;
      case 'patch':
        return this.#patch(kept, query.get('updateMask') ?? '', body);
      case 'delete':
        if (query.has('etag') && query.get('etag') !== kept.secret.etag)
          throw new SecretError(400, 'FAILED_PRECONDITION', 'the etag is not the current one');
        this.#secrets.delete(name);
        this.#save();
        return {};
      case 'addVersion':
        return this.#addVersion(name, kept, body);
      case 'getIamPolicy':
        return kept.policy;
      case 'setIamPolicy':
        return this.#setPolicy(kept, body);
      case 'versions.list':
        return { versions: kept.versions.map(shown).reverse(), totalSize: kept.versions.length };
      default:
        return this.#versionCall(verb.replace('versions.', ''), kept, path.versionsId ?? '');
    }
  }

  #create(name: string, body: JsonObject): Json {
    if (!/\/[A-Za-z0-9_-]{1,255}$/.test(name)) throw new SecretError(400, 'INVALID_ARGUMENT', 'malformed secret ID');
    if (!isObject(body.replication)) throw new SecretError(400, 'INVALID_ARGUMENT', 'replication is required');
    if (this.#secrets.has(name)) throw new SecretError(409, 'ALREADY_EXISTS', `Secret [${name}] already exists.`);
    const secret: JsonObject = { ...body, name, createTime: new Date().toISOString() };
    secret.etag = etag(secret);
    this.#secrets.set(name, { secret, policy: { version: 1, etag: 'ACAB' }, versions: [] });
    this.#save();
    return secret;
  }

  #list(query: URLSearchParams): Json {
    const filter = query.get('filter');
    const wanted = filter === null ? undefined : /^labels\.([\w-]+)\s*[=:]\s*"?([\w-]*)"?$/.exec(filter);
    if (wanted === null) throw new SecretError(400, 'INVALID_ARGUMENT', 'only labels.<key>=<value> is served');
    const all = [...this.#secrets.values()]
      .map(({ secret }) => secret)
      .filter(({ labels }) => !wanted || (isObject(labels) && labels[wanted[1] ?? ''] === wanted[2]));
    const size = Math.min(Number(query.get('pageSize') ?? 0) || 25_000, 25_000);
    const start = Number(query.get('pageToken') ?? 0);
    const next = start + size < all.length ? { nextPageToken: String(start + size) } : {};
    return { secrets: all.slice(start, start + size), totalSize: all.length, ...next };
  }

  #patch(kept: Kept, mask: string, body: JsonObject): Json {
    const fields = mask.split(',').filter(Boolean);
    if (fields.length === 0) throw new SecretError(400, 'INVALID_ARGUMENT', 'updateMask is required');
    if (body.etag !== undefined && body.etag !== kept.secret.etag)
      throw new SecretError(400, 'FAILED_PRECONDITION', 'the etag is not the current one');
    for (const field of fields) {
      if (!['labels', 'annotations', 'rotation', 'topics', 'versionAliases', 'expireTime', 'ttl'].includes(field))
        throw new SecretError(400, 'INVALID_ARGUMENT', `${field} cannot be changed`);
      kept.secret[field] = body[field] ?? {};
    }
    kept.secret.etag = etag({ ...kept.secret, etag: null });
    this.#save();
    return kept.secret;
  }

  #addVersion(name: string, kept: Kept, body: JsonObject): Json {
    const data = isObject(body.payload) ? body.payload.data : undefined;
    if (typeof data !== 'string' || Buffer.from(data, 'base64').length > 64 * 1024)
      throw new SecretError(400, 'INVALID_ARGUMENT', 'a payload of at most 64 KiB is required');
    const version: Version = {
      name: `${name}/versions/${kept.versions.length + 1}`,
      createTime: new Date().toISOString(),
      state: 'ENABLED',
      data,
    };
    kept.versions.push(version);
    this.#save();
    return shown(version);
  }

  #setPolicy(kept: Kept, body: JsonObject): Json {
    const policy = isObject(body.policy) ? body.policy : {};
    if (policy.etag !== undefined && policy.etag !== kept.policy.etag)
      throw new SecretError(409, 'ABORTED', 'There were concurrent policy changes.');
    const { etag: _, ...content } = policy;
    kept.policy = { version: 1, ...content, etag: Buffer.from(etag([content, Date.now()])).toString('base64') };
    this.#save();
    return kept.policy;
  }

  #versionCall(verb: string, kept: Kept, id: string): Json {
    const number = id === 'latest' ? kept.versions.length : Number(id);
    const version = kept.versions[number - 1];
    if (!version) throw new SecretError(404, 'NOT_FOUND', `Secret Version [${id}] not found.`);
    if (verb === 'get') return shown(version);
    if (verb === 'access') {
      if (version.state !== 'ENABLED' || version.data === undefined)
        throw new SecretError(400, 'FAILED_PRECONDITION', `Secret Version [${id}] is in ${version.state} state.`);
      return { name: version.name, payload: { data: version.data } };
    }
    if (version.state === 'DESTROYED') throw new SecretError(400, 'FAILED_PRECONDITION', `${id} is destroyed`);
    version.state = verb === 'destroy' ? 'DESTROYED' : verb === 'disable' ? 'DISABLED' : 'ENABLED';
    if (verb === 'destroy') delete version.data;
    this.#save();
    return shown(version);
  }

  #save(): void {
    writeFileSync(`${this.#file}.new`, JSON.stringify(Object.fromEntries(this.#secrets)), { mode: 0o600 });
    renameSync(`${this.#file}.new`, this.#file);
  }
}

const shown = ({ name, createTime, state }: Version): JsonObject => ({
  name,
  createTime,
  state,
  etag: etag([name, state]),
});

function read(file: string): Record<string, Kept> {
  return existsSync(file) ? (JSON.parse(readFileSync(file, 'utf8')) as Record<string, Kept>) : {};
}
