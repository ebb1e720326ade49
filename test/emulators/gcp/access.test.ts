import { loadDefinition } from '../../../emulators/gcp/compute-definition.ts';
import type { Json } from '../../../model/service.ts';
import { LocalGcp, project, type Reply } from './local-gcp.ts';

const cloud = new LocalGcp();
const projectUrl = `/v3/projects/${project}`;
const manager = 'cloudresourcemanager.googleapis.com';
const bigQuery = (method: string, path: string, body?: Json, headers?: Record<string, string>): Promise<Reply> =>
  cloud.call(method, 'bigquery.googleapis.com', `/bigquery/v2/projects/${project}/datasets${path}`, body, headers);
const iam = (method: string, path: string, body?: Json): Promise<Reply> =>
  cloud.call(method, 'iam.googleapis.com', `/v1/projects/${project}/serviceAccounts${path}`, body);

beforeAll(() => cloud.start());
afterAll(() => cloud.remove());

it('gives a token for a fresh JWT with the right signature only', async () => {
  const now = Math.floor(Date.now() / 1000);
  const late = await cloud.grant({ iat: now - 7200, exp: now - 3600 });
  expect([late.status, late.body.error]).toEqual([400, 'invalid_grant']);
  expect((await cloud.grant({ iss: `other@${project}.iam.gserviceaccount.com` })).status).toBe(400);
  expect((await cloud.grant({ aud: 'https://example.com/' })).status).toBe(400);
  for (const authorization of ['', 'Bearer ya29.eyJlbWFpbCI6Im1lIn0.x', 'Bearer a.b.c'])
    expect((await cloud.call('GET', manager, projectUrl, undefined, { authorization })).status).toBe(401);
});

it('allows what the policies grant, on the project or on one resource', async () => {
  expect((await cloud.call('GET', manager, projectUrl)).body.projectId).toBe(project);
  expect((await iam('POST', '', { accountId: 'reader-1', serviceAccount: { displayName: 'R' } })).status).toBe(200);
  expect((await iam('POST', '', { accountId: 'reader-1' })).status).toBe(409);
  const email = `reader-1@${project}.iam.gserviceaccount.com`;
  const asked = ['storage.buckets.create', 'pubsub.topics.publish'];
  const held = await cloud.call('POST', manager, `${projectUrl}:testIamPermissions`, { permissions: asked });
  expect(held.body.permissions).toEqual(asked);
  const { body: policy } = await cloud.call('POST', manager, `${projectUrl}:getIamPolicy`, {});
  const bindings = [
    ...(Array.isArray(policy.bindings) ? policy.bindings : []),
    { role: 'roles/pubsub.publisher', members: [`serviceAccount:${email}`] },
  ];
  const set = (): Promise<Reply> =>
    cloud.call('POST', manager, `${projectUrl}:setIamPolicy`, { policy: { ...policy, bindings } });
  expect((await set()).status).toBe(200);
  // Its etag is no longer the present one.
  expect((await set()).status).toBe(409);
  await cloud.kill();
  await cloud.start();
  const kept = await cloud.call('POST', manager, `${projectUrl}:getIamPolicy`, {});
  expect(kept.body.bindings).toEqual(bindings);
  expect((await iam('GET', `/${email}`)).body).toMatchObject({ email, displayName: 'R' });
});

it('keeps datasets with their labels and etags, and deletes none that is not empty', async () => {
  const reference = { datasetId: 'lake' };
  const made = await bigQuery('POST', '', { datasetReference: reference, location: 'us-central1', labels: { a: 'b' } });
  expect(made.body).toMatchObject({ location: 'us-central1', labels: { a: 'b' } });
  const definition = loadDefinition('bigquery.v2');
  expect(definition.checkBody('Dataset', made.body)).toBeUndefined();
  expect((await bigQuery('POST', '', { datasetReference: reference })).status).toBe(409);
  const etag = String(made.body.etag);
  const patch = { labels: { a: null, c: 'd' } };
  const changed = await bigQuery('PATCH', '/lake', patch, { 'if-match': etag });
  expect(changed.body.labels).toEqual({ c: 'd' });
  expect((await bigQuery('PATCH', '/lake', patch, { 'if-match': etag })).status).toBe(412);
  const found = await bigQuery('GET', '?filter=labels.c:d');
  expect(found.body.datasets).toHaveLength(1);
  expect((await bigQuery('GET', '?filter=labels.c:x')).body.datasets).toBeUndefined();
  await bigQuery('POST', '/lake/tables', { tableReference: { tableId: 't' } });
  expect((await bigQuery('DELETE', '/lake')).status).toBe(400);
  expect((await bigQuery('DELETE', '/lake?deleteContents=true')).status).toBe(204);
  expect((await bigQuery('GET', '/lake')).status).toBe(404);
});
