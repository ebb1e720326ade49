/** A service account with one role of the project's own, made by the project's owner. */
import { dirname, join } from 'node:path';
import { JWT } from 'google-auth-library';
import { accounts } from '../../emulators/environment.ts';
import { serviceAccountKeyFile } from '../../emulators/gcp/service-account-key.ts';

const project = accounts.gcp;
const manager = `https://cloudresourcemanager.googleapis.com/v3/projects/${project}`;
interface Policy {
  bindings?: { role: string; members: string[] }[];
}

let owner: JWT | undefined;
/** A POST by the project's owner. */
export async function ownerRequest<T>(url: string, data: object): Promise<T> {
  owner ??= new JWT({
    keyFile: process.env.GCP_KEY_FILE ?? '',
    scopes: ['https://www.googleapis.com/auth/cloud-platform'],
  });
  return (await owner.request<T>({ url, method: 'POST', data })).data;
}

/** `undefined`: may do everything. */
export async function limitedGcp(name: string, roles: readonly unknown[] | undefined) {
  const account = `limited-${name}`;
  const email = `${account}@${project}.iam.gserviceaccount.com`;
  const granted: string[] = [];
  if (!roles) granted.push('roles/owner');
  for (const [at, role] of (roles ?? []).entries()) {
    const roleId = `${account.replaceAll('-', '_')}_${at}`;
    await ownerRequest(`https://iam.googleapis.com/v1/projects/${project}/roles`, { roleId, role });
    granted.push(`projects/${project}/roles/${roleId}`);
  }
  const policy = await ownerRequest<Policy>(`${manager}:getIamPolicy`, {});
  const bindings = granted.map((role) => ({ role, members: [`serviceAccount:${email}`] }));
  await ownerRequest(`${manager}:setIamPolicy`, {
    policy: { ...policy, bindings: [...(policy.bindings ?? []), ...bindings] },
  });
  const state = join(dirname(process.env.MULTI_CLOUD_NETWORK ?? ''), 'gcp');
  return {
    caller: email,
    credentials: { project_id: project, key_file: serviceAccountKeyFile(state, project, account) },
  };
}
