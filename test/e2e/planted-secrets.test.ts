/**
 * Secrets that nobody gave us as such: what clouds answer, what SDKs derive from credentials (bearer and session tokens,
 * signatures), what drivers generate (keys, passwords). None of them gets out of a worker by any way that people or other
 * programs read: histories, heartbeats, memos, details, errors, logs, records buckets, the command line.
 */
import { subscribe, unsubscribe } from 'node:diagnostics_channel';
import { mkdtempSync, readdirSync, readFileSync } from 'node:fs';
import type { ClientRequest } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { type OperationResult, taskQueue, workflowIds } from '../../model/operations.ts';
import type { Progress } from '../../model/progress.ts';
import type { ServiceRecord } from '../../model/record.ts';
import { recordsPlacement } from '../../model/records.ts';
import { multiCloud } from '../client/command.ts';
import { armFault, localRun } from '../local/stack.ts';
import { allHistories, textOf } from './histories.ts';
import { type OwnWorker, ownWorker, quietTemporal, writeEstate } from './own-worker.ts';

const estate = 'planted';
const clouds = ['aws', 'azure', 'gcp'] as const;
const mark = 'pLaNtEd';
/** In the form that each kind of secret has; none of them may be recognisable as ours by its name alone. */
const planted: Record<string, string> = {
  sas: `sv=2026-02-06&sp=rwdl&sr=c&se=2027-01-01&sig=${mark}Sas0123456789abcdef%3D`,
  presigned: `https://b.s3.us-west-2.amazonaws.com/k?X-Amz-Credential=AKIA&X-Amz-Signature=${mark}5ec2e7ab12cd34ef`,
  bearer: `Bearer eyJhbGciOiJSUzI1NiJ9.${mark}BearerBody.signature`,
  session: `FwoGZXIvYXdzEJr${mark}SessionToken//////////wEaDH`,
  password: `${mark}-Passw0rd!x9Qz`,
  connection: `Endpoint=sb://n.servicebus.windows.net/;SharedAccessKeyName=root;SharedAccessKey=${mark}Key0123456789=`,
  pem: `-----BEGIN PRIVATE KEY-----\n${mark}MIIEvQIBADANBgkqhkiG9w0BAQEFAASC\n-----END PRIVATE KEY-----`,
};
const all = Object.values(planted).join(' ');

/** Forms that no text of ours has for any other reason. */
const forms: Record<string, RegExp> = {
  'private key': /BEGIN [A-Z ]*PRIVATE KEY/,
  'JSON web token': /eyJ[\w-]{10,}\.[\w-]{10,}\.[\w-]{10,}/,
  'shared access signature': /SharedAccessSignature sr=|[?&]sig=[\w%+/-]{20,}/,
  'presigned address': /X-(Amz|Goog)-Signature=/i,
  'authorisation of a request': /AWS4-HMAC-SHA256 Credential=|SharedKey [a-z0-9]+:/,
  'connection string': /SharedAccessKey=|AccountKey=/,
};

const xml = (code: string): string =>
  `<?xml version="1.0" encoding="UTF-8"?><Error><Code>${code}</Code><Message>${xmlText(`denied for ${all}`)}</Message><Resource>${xmlText(all)}</Resource></Error>`;
const xmlText = (text: string): string => text.replaceAll('&', '&amp;').replaceAll('<', '&lt;');
const arm = (code: string): string =>
  JSON.stringify({ error: { code, message: `denied for ${all}`, target: all, details: [{ code, message: all }] } });
const google = (code: number, reason: string): string =>
  JSON.stringify({ error: { code, message: `denied for ${all}`, errors: [{ reason, message: all, location: all }] } });

/** The creation of each cloud's store (Google's: the look before it) is denied, then fails in a way that nobody knows. */
const refusals = {
  aws: [
    { match: { method: 'PUT', host: '/^planted-on-aws/', path: '/' }, status: 403, body: xml('AccessDenied') },
    { match: { method: 'PUT', host: '/^planted-on-aws/', path: '/' }, status: 418, body: xml('Unheard') },
  ],
  azure: [
    {
      match: { method: 'PUT', path: '/resourceGroups.planted-on-azure.*storageAccounts.[a-z0-9]+$/' },
      status: 403,
      body: arm('AuthorizationFailed'),
    },
    {
      match: { method: 'PUT', path: '/resourceGroups.planted-on-azure.*storageAccounts.[a-z0-9]+$/' },
      status: 418,
      body: arm('Unheard'),
    },
  ],
  gcp: [
    { match: { method: 'GET', path: '/^.storage.v1.b.planted-on-gcp/' }, status: 403, body: google(403, 'forbidden') },
    { match: { method: 'GET', path: '/^.storage.v1.b.planted-on-gcp/' }, status: 418, body: google(418, 'unheard') },
  ],
} as const;

let worker: OwnWorker;
/** What was sent to clouds to prove who we are: from the requests themselves. */
const derived = new Map<string, string>();
/** By where it was seen. */
const texts = new Map<string, string>();

function hear(message: unknown): void {
  const { request } = message as { request: ClientRequest };
  for (const name of ['authorization', 'x-amz-security-token', 'x-ms-copy-source-authorization']) {
    const value = request.getHeader(name);
    // The last part is the secret one: what stands before it names the key.
    const secret = typeof value === 'string' ? value.split(/Signature=|sig=|Bearer |:/).at(-1) : undefined;
    if (secret && secret.length >= 20) derived.set(secret, `${name} for ${request.host}`);
  }
  const signature = /[?&](?:X-Amz-Signature|sig)=([^&]+)/i.exec(request.path)?.[1];
  if (signature) derived.set(decodeURIComponent(signature), `signature in an address of ${request.host}`);
}

async function look(where: string, run: { workflowId: string }): Promise<void> {
  const handle = worker.client.workflow.getHandle(run.workflowId);
  const described = await handle.describe();
  // With pending activities: their heartbeats and last failures.
  texts.set(`${where}: description`, JSON.stringify(described.raw, bytesAsText));
  texts.set(`${where}: memo`, JSON.stringify(described.memo ?? {}));
  texts.set(`${where}: details`, JSON.stringify(await handle.query('__temporal_workflow_metadata')));
  texts.set(`${where}: progress`, JSON.stringify(await handle.query('progress')));
  texts.set(`${where}: audit`, JSON.stringify(await handle.query('audit')));
}
const bytesAsText = (_: string, value: unknown): unknown =>
  value instanceof Uint8Array ? Buffer.from(value).toString('utf8') : value;

async function until(holds: () => Promise<boolean>): Promise<void> {
  while (!(await holds())) await setTimeout(100);
}

const start = (type: string, input: object) =>
  worker.client.workflow.start(type, { taskQueue, workflowId: `${type}-${Math.random()}`, args: [input] });
const record = (service: string): Promise<ServiceRecord> =>
  worker.client.workflow.getHandle(workflowIds.cloudService(estate, service)).query('record');

/** A store whose creation is answered with secrets: the run is held, and looked at from all sides. */
async function deniedStore(cloud: (typeof clouds)[number]): Promise<void> {
  const service = `on_${cloud}`;
  const run = await start('deployService', { service });
  for (const { match, status, body } of refusals[cloud]) {
    const headers = { 'content-type': body.startsWith('<') ? 'application/xml' : 'application/json' };
    const headersToo = {
      ...headers,
      'x-amz-request-id': planted.session ?? '',
      'x-ms-request-id': planted.password ?? '',
    };
    const heal = await armFault({ match: { cloud, ...match }, effect: 'answer', status, body, headers: headersToo });
    if (status === 403) await until(async () => (await run.query<Progress>('progress')).blocked !== undefined);
    else await setTimeout(2500); // it is tried again and again
    await look(`${cloud} ${status}`, run);
    expect(await heal()).toBeGreaterThan(0);
    await run.signal('retryStep', { by: 'ann' });
  }
  expect((await run.result()) as OperationResult).toMatchObject({ outcome: 'done', orphans: [] });
  await look(`${cloud} done`, run);
}

beforeAll(async () => {
  quietTemporal();
  subscribe('http.client.request.start', hear);
  const storage = { type: 'storage', protect: false };
  const devices = { type: 'iot_core', protect: false };
  const services = {
    on_aws: { ...storage, preferred_providers: ['aws'] },
    on_azure: { ...storage, preferred_providers: ['azure'] },
    on_gcp: { ...storage, preferred_providers: ['gcp'] },
    // Their canaries and brokers have generated keys, tokens and passwords.
    devices_aws: { ...devices, preferred_providers: ['aws'] },
    devices_azure: { ...devices, preferred_providers: ['azure'] },
    devices_gcp: { ...devices, preferred_providers: ['gcp'] },
  };
  const file = writeEstate(join(mkdtempSync(join(tmpdir(), 'estate-')), 'estate.yaml'), estate, services);
  worker = await ownWorker({ namespace: `planted-${Date.now()}`, estateFile: file });
  // The first run makes the records bucket of a cloud; its own calls are not refused.
  await Promise.all(
    clouds.map(async (cloud) => {
      const run = await start('deployService', { service: `devices_${cloud}` });
      expect(await run.result()).toMatchObject({ outcome: 'done' });
      await look(`devices on ${cloud}`, run);
      await deniedStore(cloud);
    }),
  );
  for (const command of ['status', 'doctor', 'costs']) {
    const { address } = localRun().temporal;
    const { namespace } = worker.client.options;
    const said = await multiCloud([command], {
      MULTI_CLOUD_ADDRESS: address,
      MULTI_CLOUD_NAMESPACE: namespace,
      MULTI_CLOUD_ESTATE: estate,
    });
    texts.set(`command ${command}`, said.out + said.err);
  }

  // Everything that lies in the records buckets.
  const signal = AbortSignal.timeout(60_000);
  const { uid }: { uid: string } = await worker.client.workflow
    .getHandle(workflowIds.cloudEstate(estate))
    .query('record');
  for (const cloud of clouds) {
    const [place] = (await record(`on_${cloud}`)).places;
    if (!place) throw new Error(`nothing was on ${cloud}`);
    const bucket = recordsPlacement({ estate, uid, controller: '' }, place);
    const { objects } = await worker.pool.get(cloud);
    for (const key of await objects.list(bucket, '', signal))
      texts.set(`${cloud} ${key}`, Buffer.from((await objects.get(bucket, key, signal))?.bytes ?? []).toString());
  }
  for (const { workflowId, history } of await allHistories(worker.client))
    texts.set(`history of ${workflowId}`, textOf(history));
  const { logs } = localRun();
  for (const name of ['worker.log', 'temporal.log']) texts.set(name, readFileSync(join(logs, name), 'utf8'));
}, 400_000);
afterAll(async () => {
  unsubscribe('http.client.request.start', hear);
  await worker.close();
}, 60_000);

const where = (isIn: (text: string) => boolean): string[] =>
  [...texts].flatMap(([name, text]) => (isIn(text) ? [name] : []));

it('everything that can be read was read', () => {
  const names = [...texts.keys()].join('\n');
  for (const part of ['description', 'memo', 'details', 'progress', 'audit', 'command doctor', 'worker.log'])
    expect(names).toContain(part);
  for (const cloud of clouds) expect(names).toMatch(new RegExp(`${cloud} records/on_${cloud}.json`));
  expect(where((text) => text.includes('PermissionDenied')).length).toBeGreaterThan(3);
  expect(readdirSync(localRun().logs)).toContain('worker.log');
});

it('what clouds put into their refusals stays in the worker', () => {
  const found = [...texts].flatMap(([name, text]) =>
    [...text.matchAll(new RegExp(`.{0,60}${mark}.{0,20}`, 'g'))].slice(0, 2).map(([around]) => `${name}: ${around}`),
  );
  expect(found).toEqual([]);
});

it('what proves who we are to the clouds stays in the worker', () => {
  const hosts = [...derived.values()].join();
  for (const host of ['amazonaws.com', 'azure', 'googleapis.com']) expect(hosts).toContain(host);
  const found = [...derived].flatMap(([secret, what]) =>
    where((text) => text.includes(secret)).map((at) => `${what}: ${at}`),
  );
  expect(found).toEqual([]);
});

it('nothing has the form of a secret', () => {
  const found = Object.entries(forms).flatMap(([what, form]) =>
    where((text) => form.test(text)).map((at) => `${what}: ${at}`),
  );
  expect(found).toEqual([]);
});
