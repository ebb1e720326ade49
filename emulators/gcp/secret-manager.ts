/**
 * The local Secret Manager: secrets with labels, versions and IAM policies, checked against Google's discovery document.
 * Payloads lie in a file of the state folder that only its owner can read.
 */
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Json, JsonObject } from '../../model/service.ts';
import { type Access, asJson, changedPolicy, emptyPolicy, type Policy } from './access.ts';
import { type Called, isObject, loadDefinition } from './compute-definition.ts';
import { GoogleError } from './google-error.ts';
import { type Answer, type Api, type ApiRequest, checkLabels, matched } from './json-api.ts';
import { projectNumber } from './projects.ts';

interface Version {
  name: string;
  createTime: string;
  state: 'ENABLED' | 'DISABLED' | 'DESTROYED';
  /** Base64; removed when the version is destroyed. */
  data?: string;
}
interface Kept {
  secret: JsonObject;
  policy: Policy;
  versions: Version[];
}

const etag = (content: Json): string =>
  `"${createHash('sha256').update(JSON.stringify(content)).digest('hex').slice(0, 14)}"`;

/** `versions.access` is `secretmanager.versions.access`; a version is added to a secret by `addVersion`. */
function permissionOf(verb: string): string {
  if (verb === 'addVersion') return 'secretmanager.versions.add';
  if (verb.startsWith('versions.')) return `secretmanager.${verb}`;
  return `secretmanager.secrets.${verb === 'patch' ? 'update' : verb}`;
}

export class SecretManager implements Api {
  readonly #definition = loadDefinition('secretmanager.v1');
  readonly #file: string;
  readonly #project: string;
  readonly #access: Pick<Access, 'require'>;
  readonly #secrets: Map<string, Kept>;

  constructor(folder: string, project: string, access: Pick<Access, 'require'>) {
    this.#access = access;
    mkdirSync(folder, { recursive: true });
    this.#file = join(folder, 'secrets.json');
    this.#project = project;
    this.#secrets = new Map(Object.entries(read(this.#file)));
  }

  handle(request: ApiRequest): Answer {
    const { id, path, content } = matched(this.#definition, request);
    if (path.projectsId !== this.#project && path.projectsId !== projectNumber(this.#project))
      throw new GoogleError('forbidden', `Permission denied on project ${path.projectsId}`);
    return { status: 200, body: this.#call({ id, path }, request, content) };
  }

  #call({ id, path }: Pick<Called, 'id' | 'path'>, { url, caller }: ApiRequest, body: JsonObject): Json {
    const query = url.searchParams;
    const verb = id.replace('secretmanager.projects.secrets.', '');
    const name = `projects/${this.#project}/secrets/${path.secretsId ?? query.get('secretId') ?? ''}`;
    const kept = this.#secrets.get(name);
    this.#access.require(caller, permissionOf(verb), kept?.policy);
    if (verb === 'create') return this.#create(name, body);
    if (verb === 'list') return this.#list(query);
    if (!kept) throw new GoogleError('notFound', `Secret [${name}] not found.`);
    switch (verb) {
      case 'get':
        return kept.secret;
      case 'patch':
        return this.#patch(kept, query.get('updateMask') ?? '', body);
      case 'delete':
        if (query.has('etag') && query.get('etag') !== kept.secret.etag)
          throw new GoogleError('failedPrecondition', 'the etag is not the current one');
        this.#secrets.delete(name);
        this.#save();
        return {};
      case 'addVersion':
        return this.#addVersion(name, kept, body);
      case 'getIamPolicy':
        return asJson(kept.policy);
      case 'setIamPolicy':
        kept.policy = changedPolicy(kept.policy, body.policy);
        this.#save();
        return asJson(kept.policy);
      case 'versions.list':
        return { versions: kept.versions.map(shown).reverse(), totalSize: kept.versions.length };
      default:
        return this.#versionCall(verb.replace('versions.', ''), kept, path.versionsId ?? '');
    }
  }

  #create(name: string, body: JsonObject): Json {
    if (!/\/[A-Za-z0-9_-]{1,255}$/.test(name)) throw new GoogleError('invalid', 'malformed secret ID');
    checkLabels(body.labels);
    if (!isObject(body.replication)) throw new GoogleError('invalid', 'replication is required');
    if (this.#secrets.has(name)) throw new GoogleError('conflict', `Secret [${name}] already exists.`);
    const secret: JsonObject = { ...body, name, createTime: new Date().toISOString() };
    secret.etag = etag(secret);
    this.#secrets.set(name, { secret, policy: emptyPolicy, versions: [] });
    this.#save();
    return secret;
  }

  #list(query: URLSearchParams): Json {
    const filter = query.get('filter');
    const wanted = filter === null ? undefined : /^labels\.([\w-]+)\s*[=:]\s*"?([\w-]*)"?$/.exec(filter);
    if (wanted === null) throw new GoogleError('invalid', 'only labels.<key>=<value> is served');
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
    if (fields.length === 0) throw new GoogleError('invalid', 'updateMask is required');
    if (body.etag !== undefined && body.etag !== kept.secret.etag)
      throw new GoogleError('failedPrecondition', 'the etag is not the current one');
    for (const field of fields) {
      if (!['labels', 'annotations', 'rotation', 'topics', 'versionAliases', 'expireTime', 'ttl'].includes(field))
        throw new GoogleError('invalid', `${field} cannot be changed`);
      kept.secret[field] = body[field] ?? {};
    }
    kept.secret.etag = etag({ ...kept.secret, etag: null });
    this.#save();
    return kept.secret;
  }

  #addVersion(name: string, kept: Kept, body: JsonObject): Json {
    const data = isObject(body.payload) ? body.payload.data : undefined;
    if (typeof data !== 'string' || Buffer.from(data, 'base64').length > 64 * 1024)
      throw new GoogleError('invalid', 'a payload of at most 64 KiB is required');
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

  #versionCall(verb: string, kept: Kept, id: string): Json {
    const number = id === 'latest' ? kept.versions.length : Number(id);
    const version = kept.versions[number - 1];
    if (!version) throw new GoogleError('notFound', `Secret Version [${id}] not found.`);
    if (verb === 'get') return shown(version);
    if (verb === 'access') {
      if (version.state !== 'ENABLED' || version.data === undefined)
        throw new GoogleError('failedPrecondition', `Secret Version [${id}] is in ${version.state} state.`);
      return { name: version.name, payload: { data: version.data } };
    }
    if (version.state === 'DESTROYED') throw new GoogleError('failedPrecondition', `${id} is destroyed`);
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
