/** The local IAM: service accounts of the project, its own roles, and what the predefined roles hold. */
import { createHash, randomInt } from 'node:crypto';
import { join } from 'node:path';
import { z } from 'zod';
import type { JsonObject } from '../../model/service.ts';
import { type Access, asJson, changedPolicy, emptyPolicy, Policy, permissionsOf } from './access.ts';
import { isObject, loadDefinition } from './compute-definition.ts';
import { GoogleError } from './google-error.ts';
import { type Answer, type Api, type ApiRequest, matched, page } from './json-api.ts';
import { JsonStore } from './json-store.ts';

const ServiceAccount = z.object({
  email: z.string(),
  uniqueId: z.string(),
  displayName: z.string().optional(),
  description: z.string().optional(),
  disabled: z.boolean().default(false),
  policy: Policy.default(emptyPolicy),
});
type ServiceAccount = z.infer<typeof ServiceAccount>;

const Role = z.object({ name: z.string(), includedPermissions: z.array(z.string()).default([]) }).catchall(z.json());

/** Permission that each verb needs. */
const permissions: Readonly<Record<string, string>> = { patch: 'update' };

export class Iam implements Api {
  readonly #definition = loadDefinition('iam.v1');
  readonly #accounts: JsonStore<ServiceAccount>;
  readonly #roles: JsonStore<z.infer<typeof Role>>;
  readonly #project: string;
  #access: Access | undefined;

  constructor(state: string, project: string) {
    this.#accounts = new JsonStore(join(state, 'service-accounts.json'), ServiceAccount);
    this.#roles = new JsonStore(join(state, 'roles.json'), Role);
    this.#project = project;
  }

  /** Access is judged by what is built on these accounts, so it comes second. */
  use(access: Access): void {
    this.#access = access;
  }

  exists(email: string): boolean {
    const account = this.#accounts.items.get(email);
    return account !== undefined && !account.disabled;
  }

  customRole(name: string): readonly string[] | undefined {
    return this.#roles.items.get(name)?.includedPermissions;
  }

  handle(request: ApiRequest): Answer {
    const { id, path, content } = matched(this.#definition, request);
    const verb = id.split('.').at(-1) ?? '';
    if (id === 'iam.roles.get') return { status: 200, body: predefinedRole(`roles/${path.rolesId}`) };
    if (path.projectsId !== this.#project && path.projectsId !== '-')
      throw new GoogleError('forbidden', `Permission denied on project ${path.projectsId}`);
    if (id.startsWith('iam.projects.roles.')) {
      this.#access?.require(request.caller, `iam.roles.${permissions[verb] ?? verb}`);
      return { status: 200, body: this.#roleCall(verb, path.rolesId ?? '', content) };
    }
    if (verb !== 'testIamPermissions')
      this.#access?.require(request.caller, `iam.serviceAccounts.${permissions[verb] ?? verb}`);
    return { status: 200, body: this.#call(verb, path.serviceAccountsId ?? '', content, request) };
  }

  #call(verb: string, name: string, content: JsonObject, request: ApiRequest): JsonObject {
    if (verb === 'create') return this.#create(content);
    if (verb === 'list') {
      const query = request.url.searchParams;
      const size = Math.min(Number(query.get('pageSize') ?? 0) || 20, 100);
      const { items, next } = page([...this.#accounts.items.values()], size, query.get('pageToken'));
      return { accounts: items.map((account) => this.#shown(account)), ...next };
    }
    const account = this.#find(name);
    switch (verb) {
      case 'get':
        return this.#shown(account);
      case 'patch':
        return this.#patch(account, content);
      case 'delete':
        this.#accounts.delete(account.email);
        return {};
      case 'enable':
      case 'disable':
        account.disabled = verb === 'disable';
        this.#accounts.save();
        return {};
      case 'getIamPolicy':
        return asJson(account.policy);
      case 'setIamPolicy':
        account.policy = changedPolicy(account.policy, content.policy);
        this.#accounts.save();
        return asJson(account.policy);
      default: {
        const asked = Array.isArray(content.permissions) ? content.permissions.map(String) : [];
        return { permissions: this.#access?.held(request.caller, asked, account.policy) ?? [] };
      }
    }
  }

  /** Deleted ones are gone at once; Google keeps their names for 37 days. */
  #roleCall(verb: string, id: string, { roleId, role }: JsonObject): JsonObject {
    if (verb === 'list') return { roles: [...this.#roles.items.values()] };
    const name = `projects/${this.#project}/roles/${verb === 'create' ? roleId : id}`;
    const before = this.#roles.items.get(name);
    if (verb === 'create') {
      if (typeof roleId !== 'string' || !/^[\w.]{3,64}$/.test(roleId))
        throw new GoogleError('invalid', 'The role_id must have 3 to 64 letters, digits, underscores and periods');
      if (before) throw new GoogleError('conflict', `A role named ${roleId} in ${this.#project} already exists.`);
    } else if (!before) throw new GoogleError('notFound', `The role named ${name} was not found.`);
    if (verb === 'get') return before ?? {};
    if (verb === 'delete') this.#roles.delete(name);
    else this.#roles.set(name, Role.parse({ ...before, ...(isObject(role) ? role : {}), name }));
    return this.#roles.items.get(name) ?? before ?? {};
  }

  #find(name: string): ServiceAccount {
    const found =
      this.#accounts.items.get(name) ?? [...this.#accounts.items.values()].find(({ uniqueId }) => uniqueId === name);
    if (!found) throw new GoogleError('notFound', `Unknown service account ${name}`);
    return found;
  }

  #create({ accountId, serviceAccount }: JsonObject): JsonObject {
    if (typeof accountId !== 'string' || !/^[a-z][-a-z0-9]{4,28}[a-z0-9]$/.test(accountId))
      throw new GoogleError('invalid', 'accountId must have 6 to 30 lower case letters, digits and hyphens');
    const given = isObject(serviceAccount) ? serviceAccount : {};
    checkTexts(given);
    const email = `${accountId}@${this.#project}.iam.gserviceaccount.com`;
    if (this.#accounts.items.has(email))
      throw new GoogleError('conflict', `Service account ${accountId} already exists within project`);
    const account: ServiceAccount = {
      email,
      uniqueId: `1${Array.from({ length: 20 }, () => randomInt(10)).join('')}`,
      ...(typeof given.displayName === 'string' ? { displayName: given.displayName } : {}),
      ...(typeof given.description === 'string' ? { description: given.description } : {}),
      disabled: false,
      policy: emptyPolicy,
    };
    this.#accounts.set(email, account);
    return this.#shown(account);
  }

  #patch(account: ServiceAccount, { serviceAccount, updateMask }: JsonObject): JsonObject {
    const given = isObject(serviceAccount) ? serviceAccount : {};
    checkTexts(given);
    for (const field of String(updateMask ?? '').split(',')) {
      if (field === 'displayName' || field === 'display_name') account.displayName = String(given.displayName ?? '');
      else if (field === 'description') account.description = String(given.description ?? '');
      else throw new GoogleError('invalid', `updateMask: ${field} cannot be changed`);
    }
    this.#accounts.save();
    return this.#shown(account);
  }

  #shown(account: ServiceAccount): JsonObject {
    const { email, uniqueId, displayName, description, disabled } = account;
    const texts: JsonObject = {
      ...(displayName === undefined ? {} : { displayName }),
      ...(description === undefined ? {} : { description }),
      ...(disabled ? { disabled } : {}),
    };
    return {
      name: `projects/${this.#project}/serviceAccounts/${email}`,
      projectId: this.#project,
      uniqueId,
      email,
      oauth2ClientId: uniqueId,
      etag: createHash('sha256').update(JSON.stringify(texts)).digest('base64').slice(0, 12),
      ...texts,
    };
  }
}

function predefinedRole(name: string): JsonObject {
  const includedPermissions = permissionsOf(name);
  if (!includedPermissions) throw new GoogleError('notFound', `The role named ${name} was not found.`);
  return { name, includedPermissions, stage: 'GA', etag: 'AA==' };
}

function checkTexts({ displayName, description }: JsonObject): void {
  if (typeof displayName === 'string' && Buffer.byteLength(displayName) > 100)
    throw new GoogleError('invalid', 'displayName has at most 100 bytes');
  if (typeof description === 'string' && Buffer.byteLength(description) > 256)
    throw new GoogleError('invalid', 'description has at most 256 bytes');
}
