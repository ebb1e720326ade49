/** The values of the given credentials are in no history and in no log. */
import { mkdtempSync, readdirSync, readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { WorkflowFailedError } from '@temporalio/client';
import { parseEstateFile } from '../../model/estate-file.ts';
import { taskQueue } from '../../model/operations.ts';
import { localRun } from '../local/stack.ts';
import { allHistories, textOf } from './histories.ts';
import { type OwnWorker, ownWorker, quietTemporal, writeEstate } from './own-worker.ts';

describe('the values of the given credentials', () => {
  const secrets: Record<string, string> = {};
  const before = { ...process.env };
  let worker: OwnWorker;
  let errors = '';

  beforeAll(async () => {
    quietTemporal();
    // What the stack gives for AWS is a word like any other; this one would be recognised.
    process.env.AWS_SECRET_ACCESS_KEY = 'recognisable-secret-access-key-0123456789';
    const { AWS_SECRET_ACCESS_KEY = '', AZURE_CLIENT_SECRET = '', GCP_KEY_FILE = '' } = process.env;
    const { private_key, private_key_id } = JSON.parse(readFileSync(GCP_KEY_FILE, 'utf8'));
    Object.assign(secrets, { AWS_SECRET_ACCESS_KEY, AZURE_CLIENT_SECRET, private_key, private_key_id });
    // A line of the key is as good as the key, and survives being quoted.
    secrets.private_key = private_key.split('\n')[3];

    const storage = { type: 'storage', protect: false };
    const services = {
      on_aws: { ...storage, preferred_providers: ['aws'] },
      on_azure: { ...storage, preferred_providers: ['azure'] },
      on_gcp: { ...storage, preferred_providers: ['gcp'] },
      devices: { type: 'iot_core', preferred_providers: ['aws'] },
    };
    const file = writeEstate(join(mkdtempSync(join(tmpdir(), 'estate-')), 'estate.yaml'), 'secrets', services);
    worker = await ownWorker({ namespace: `secrets-${Date.now()}`, estateFile: file });
    const run = (type: string, input: object) =>
      worker.client.workflow.execute(type, { taskQueue, workflowId: `${type}-${Date.now()}`, args: [input] });
    expect(await run('deployEstate', {})).toMatchObject({ outcome: 'done' });
    await run('planEstate', {});
    await run('removeService', { service: 'on_aws' });
    const wrong = { service: 'on_aws', file: { services: { on_aws: { type: 'nothing' } } } };
    const refused = await run('deployService', wrong).catch((error: unknown) => error);
    errors = refused instanceof WorkflowFailedError ? `${refused.cause?.message}\n` : '';
    // Somebody writes the value itself where a placeholder belongs: the error must not repeat it.
    const literal = readFileSync(file, 'utf8').replace('${AWS_SECRET_ACCESS_KEY}', AWS_SECRET_ACCESS_KEY);
    errors += JSON.stringify(parseEstateFile(literal));
  }, 180_000);
  afterAll(async () => {
    process.env = before;
    await worker.close();
  }, 60_000);

  const holding = (texts: Record<string, string>): string[] =>
    Object.entries(texts).flatMap(([where, text]) =>
      Object.entries(secrets).flatMap(([name, value]) => (text.includes(value) ? [`${name} in ${where}`] : [])),
    );

  it('are in no history of the namespace', async () => {
    const histories = await allHistories(worker.client);
    expect(new Set(histories.map(({ type }) => type))).toEqual(
      new Set(['deployEstate', 'deployService', 'planEstate', 'removeService', 'cloudEstate', 'cloudService']),
    );
    const texts = Object.fromEntries(histories.map(({ workflowId, history }) => [workflowId, textOf(history)]));
    expect(Object.values(texts).join()).toContain('${AWS_SECRET_ACCESS_KEY}'); // payloads are really read
    expect(holding(texts)).toEqual([]);
  });

  it('are in no error', () => {
    expect(errors).toContain('services.on_aws.type');
    expect(errors).toContain('secret_access_key');
    expect(holding({ errors })).toEqual([]);
  });

  it('are in no log of the stack', () => {
    const { logs } = localRun();
    const files = readdirSync(logs).filter((name) => name.endsWith('.log'));
    expect(files).toContain('worker.log');
    expect(holding(Object.fromEntries(files.map((name) => [name, readFileSync(join(logs, name), 'utf8')])))).toEqual(
      [],
    );
  });
});
