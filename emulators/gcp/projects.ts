/** The local Resource Manager: the one project that exists, and its IAM policy. */
import { createHash } from 'node:crypto';
import { type Access, asJson } from './access.ts';
import { loadDefinition } from './compute-definition.ts';
import { GoogleError } from './google-error.ts';
import { type Answer, type Api, type ApiRequest, matched } from './json-api.ts';

/** Its number is part of resources' names and the same for the same ID. */
export const projectNumber = (project: string): string =>
  String(100_000_000_000 + (createHash('sha256').update(project).digest().readUIntBE(0, 5) % 899_999_999_999));

/** As whom Cloud Storage publishes: https://cloud.google.com/storage/docs/projects#service-agents */
export const storageAgent = (project: string): string =>
  `service-${projectNumber(project)}@gs-project-accounts.iam.gserviceaccount.com`;

export class Projects implements Api {
  readonly #definition = loadDefinition('cloudresourcemanager.v3');
  readonly #project: string;
  readonly #access: Access;

  constructor(project: string, access: Access) {
    this.#project = project;
    this.#access = access;
  }

  handle(request: ApiRequest): Answer {
    const { id, path, content } = matched(this.#definition, request);
    const verb = id.split('.').at(-1) ?? '';
    const project = this.#project;
    if (path.projectsId !== project && path.projectsId !== projectNumber(project))
      throw new GoogleError('forbidden', `The caller does not have permission on projects/${path.projectsId}`);
    if (verb === 'testIamPermissions') {
      const asked = Array.isArray(content.permissions) ? content.permissions.map(String) : [];
      if (asked.length === 0 || asked.length > 100)
        throw new GoogleError('invalid', 'between 1 and 100 permissions can be asked for');
      const wrong = asked.find((permission) => !/^[a-z]\w*(\.\w+){2,}$/i.test(permission));
      if (wrong !== undefined) throw new GoogleError('invalid', `Permission ${wrong} is not valid for this resource.`);
      const permissions = this.#access.held(request.caller, asked);
      return { status: 200, body: permissions.length > 0 ? { permissions } : {} };
    }
    this.#access.require(request.caller, `resourcemanager.projects.${verb}`);
    if (verb === 'getIamPolicy') return { status: 200, body: asJson(this.#access.project) };
    if (verb === 'setIamPolicy') return { status: 200, body: asJson(this.#access.setProject(content.policy)) };
    const body = {
      name: `projects/${projectNumber(project)}`,
      projectId: project,
      displayName: project,
      state: 'ACTIVE',
      createTime: '2026-01-01T00:00:00Z',
      updateTime: '2026-01-01T00:00:00Z',
      etag: 'W/"1"',
    };
    return { status: 200, body };
  }
}
