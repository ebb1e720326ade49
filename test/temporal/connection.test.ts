/** Temporal behind mutual TLS and API keys: workers, client and command line get in with what they were given, nobody else does. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { TestWorkflowEnvironment } from '@temporalio/testing';
import { NativeConnection } from '@temporalio/worker';
import { connect, type EstateClient } from '../../client/index.ts';
import { authority, issueCertificate } from '../../emulators/certificates.ts';
import { followApiKey, temporalAccess } from '../../temporal/connection.ts';
import { type TlsProxy, tlsProxy } from './tls-proxy.ts';

const root = join(import.meta.dirname, '../..');
const folder = mkdtempSync(join(tmpdir(), 'temporal-tls-'));
const file = (name: string, content: string): string => {
  writeFileSync(join(folder, name), content);
  return join(folder, name);
};

describe('Temporal over TLS', () => {
  let environment: TestWorkflowEnvironment;
  let proxy: TlsProxy;
  let tls: { serverCa: string; clientCert: string; clientKey: string; serverName: string };

  beforeAll(async () => {
    const path = join(root, '.local/python/bin/temporal-test-server');
    environment = await TestWorkflowEnvironment.createTimeSkipping({
      server: { executable: { type: 'existing-path', path } },
    });
    const ca = await authority(folder);
    const client = await issueCertificate(ca, ['worker-1'], true);
    proxy = await tlsProxy(environment.address, await issueCertificate(ca, ['temporal.example.com']), ca.cert);
    tls = {
      serverCa: file('server-ca.pem', ca.cert),
      clientCert: file('client.pem', client.cert),
      clientKey: file('client.key', client.key),
      serverName: 'temporal.example.com',
    };
  }, 60_000);
  afterAll(async () => {
    proxy?.close();
    await environment?.teardown();
  });
  beforeEach(() => {
    proxy.apiKey = undefined;
    proxy.clients.clear();
  });

  /** Something that the server answers to those it has let in. */
  const look = async (client: EstateClient): Promise<unknown> => {
    const { namespaceInfo } = await client.temporal.workflowService.describeNamespace({ namespace: 'default' });
    return namespaceInfo?.name;
  };

  it('takes a client and a worker with a certificate of the right authority', async () => {
    const access = temporalAccess({ address: proxy.address, tls });
    const client = await connect(access);
    expect(await look(client)).toBe('default');
    const { apiKey, ...security } = access.connection;
    expect(apiKey).toBeUndefined();
    const native = await NativeConnection.connect({ ...security, address: proxy.address });
    await native.workflowService.getSystemInfo({});
    expect([...proxy.clients]).toEqual(['worker-1']);
    await native.close();
    await client.close();
  });

  it('is not spoken to where its certificate is of another authority or name, and does not speak without a certificate', async () => {
    const other = await authority(mkdtempSync(join(tmpdir(), 'other-ca-')));
    await Promise.all(
      [
        { ...tls, serverCa: file('other-ca.pem', other.cert) },
        { ...tls, serverName: 'evil.example.com' },
        { serverCa: tls.serverCa, serverName: tls.serverName },
      ].map((wrong) => expect(connect(temporalAccess({ address: proxy.address, tls: wrong }))).rejects.toThrow()),
    );
    expect(proxy.clients).not.toContain('worker-1');
  }, 30_000);

  it('says which half of a key pair is missing', () => {
    const { clientKey, ...half } = tls;
    expect(clientKey).toBeDefined();
    expect(() => temporalAccess({ tls: half })).toThrow('tls.clientKey');
  });

  it('takes an API key from a file, and another one as soon as it stands there', async () => {
    const apiKeyFile = file('api-key', 'first\n');
    proxy.apiKey = 'first';
    const access = temporalAccess({ address: proxy.address, tls, apiKeyFile });
    const client = await connect(access);
    const { apiKey, ...security } = access.connection;
    const native = await NativeConnection.connect({
      ...security,
      address: proxy.address,
      ...(apiKey && { apiKey: apiKey() }),
    });
    const stop = followApiKey(apiKeyFile, native, 20);

    proxy.apiKey = 'second';
    await expect(look(client)).rejects.toMatchObject({ code: 16 });
    await expect(native.workflowService.getSystemInfo({})).rejects.toThrow();
    writeFileSync(apiKeyFile, ''); // while it is being replaced the old one stays
    await new Promise((done) => setTimeout(done, 100));
    writeFileSync(apiKeyFile, 'second\n');
    expect(await look(client)).toBe('default');
    const deadline = Date.now() + 10_000;
    for (;;) {
      const heard = await native.workflowService.getSystemInfo({}).then(
        () => true,
        () => false,
      );
      if (heard || Date.now() > deadline) {
        expect(heard).toBe(true);
        break;
      }
      await new Promise((done) => setTimeout(done, 50));
    }
    stop();
    await native.close();
    await client.close();
  }, 30_000);

  it('is reached by the command line with the names that Temporal’s own reads', async () => {
    proxy.apiKey = 'of-the-command-line';
    const command = async (environmentOfUser: Record<string, string>): Promise<[number, string]> => {
      const program = spawn(
        process.execPath,
        ['--disable-warning=ExperimentalWarning', join(root, 'client/cli/main.ts'), 'watch', 'no/such/run'],
        { env: { PATH: process.env.PATH ?? '', HOME: folder, MULTI_CLOUD_STATE: folder, ...environmentOfUser } },
      );
      const [said, [code]] = await Promise.all([text(program.stderr), once(program, 'exit')]);
      return [code, said];
    };
    const names = {
      TEMPORAL_ADDRESS: proxy.address,
      TEMPORAL_TLS_SERVER_CA_CERT_PATH: tls.serverCa,
      TEMPORAL_TLS_CLIENT_CERT_PATH: tls.clientCert,
      TEMPORAL_TLS_CLIENT_KEY_PATH: tls.clientKey,
      TEMPORAL_TLS_SERVER_NAME: tls.serverName,
    };
    const [inside, refused, wrong] = await Promise.all([
      command({ ...names, MULTI_CLOUD_API_KEY_FILE: file('cli-key', 'of-the-command-line') }),
      command({ ...names, TEMPORAL_API_KEY: 'a guess' }),
      command({ ...names, TEMPORAL_TLS_CLIENT_KEY_PATH: join(folder, 'none') }),
    ]);
    expect(inside).toEqual([2, expect.stringContaining('There is no such run')]);
    expect(refused).toEqual([1, `Temporal at ${proxy.address} refuses access.\n`]);
    expect(wrong).toEqual([2, expect.stringContaining('no such file')]);
  }, 30_000);
});
