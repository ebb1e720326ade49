/**
 * The engine in a process of its own, as a worker runs it: copies one store to another and says on stdout how long that
 * took. `copier.ts fill|copy|verify <JSON>`; started with the connection map of the bench's servers.
 */
import { randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { crc32 } from 'node:zlib';
import { ContainerClient } from '@azure/storage-blob';
import { z } from 'zod';
import { Clients } from '../../activities/providers/aws/clients.ts';
import { s3Store } from '../../activities/providers/aws/object-store.ts';
import { awsProvider } from '../../activities/providers/aws/provider.ts';
import { blobStore } from '../../activities/providers/azure/object-store.ts';
import { azureProvider } from '../../activities/providers/azure/provider.ts';
import { gcsStore } from '../../activities/providers/gcp/object-store.ts';
import { gcpProvider } from '../../activities/providers/gcp/provider.ts';
import { md5Of } from '../../activities/providers/object-store.ts';
import { PooledHttp } from '../../activities/providers/pooled-http.ts';
import { callBytes, type End, type Pairing, type Side } from '../../activities/transfer/copy-object.ts';
import { copyRange } from '../../activities/transfer/copy-range.ts';
import { type Files, LineFiles } from '../../activities/transfer/files.ts';
import { Gate } from '../../activities/transfer/gate.ts';
import { Manifest, type ManifestLine } from '../../activities/transfer/manifest.ts';
import { Receipts } from '../../activities/transfer/receipts.ts';
import { rangePairs, verdicts, verify } from '../../activities/transfer/verify.ts';
import { azureAccount, regions, s3Keys } from './servers.ts';

const Store = z.strictObject({ cloud: z.enum(['source', 'target', 'gcs', 'azure']), bucket: z.string() });
export type Store = z.infer<typeof Store>;
export const Task = z.strictObject({
  source: Store,
  target: Store,
  /** Folder for manifests. */
  files: z.string(),
  /** What `fill` writes. */
  objects: z.number(),
  bytes: z.number(),
});
export type Task = z.infer<typeof Task>;

const settings = { name: 'bench', region: regions.source, pollMs: 1000, callDeadlineMs: 60_000 };

/** Azurite reads a token's claims and believes them. */
function token(): string {
  const seconds = Math.floor(Date.now() / 1000);
  const claims = {
    iss: 'https://sts.windows.net/bench/',
    aud: 'https://storage.azure.com',
    nbf: seconds - 60,
    iat: seconds - 60,
    exp: seconds + 3600,
  };
  const word = (value: object): string => Buffer.from(JSON.stringify(value)).toString('base64url');
  return `${word({ alg: 'RS256', typ: 'JWT' })}.${word(claims)}.${randomBytes(32).toString('base64url')}`;
}

function endOf({ cloud, bucket }: Store): End {
  // As rclone here: the TLS of these servers, in records of 4 KiB, would be what is measured. Azurite takes no token without.
  const protocol = cloud === 'azure' ? ('https:' as const) : ('http:' as const);
  const http = new PooledHttp({ idleMs: settings.callDeadlineMs, protocol });
  switch (cloud) {
    case 'gcs':
      return {
        provider: gcpProvider({ ...settings, account: 'bench' }),
        store: gcsStore(http, async () => 'anybody', bucket),
      };
    case 'azure': {
      const known = token();
      const credential = { getToken: async () => ({ token: known, expiresOnTimestamp: Date.now() + 3_600_000 }) };
      const clients = {
        container: (account: string, name: string) =>
          new ContainerClient(`https://${account}.blob.core.windows.net/${name}`, credential),
        storageToken: async () => known,
      };
      return {
        provider: azureProvider(settings),
        store: blobStore(clients, http, { account: azureAccount, container: bucket }),
      };
    }
    default: {
      const region = regions[cloud];
      const credentials = { access_key_id: s3Keys.accessKeyId, secret_access_key: s3Keys.secretAccessKey };
      const clients = new Clients({ ...settings, region, credentials });
      return {
        provider: awsProvider({ ...settings, credentials }),
        store: s3Store(clients, http, { bucket, region, account: s3Keys.accessKeyId }),
      };
    }
  }
}

function folderFiles(folder: string): Files {
  const path = (name: string): string => join(folder, name);
  const write = (name: string, bytes: Uint8Array, flag: string): void => {
    mkdirSync(dirname(path(name)), { recursive: true });
    writeFileSync(path(name), bytes, { flag });
  };
  return {
    key: path,
    list: async (prefix) =>
      existsSync(path(dirname(prefix)))
        ? readdirSync(path(dirname(prefix)))
            .map((name) => join(dirname(prefix), name))
            .filter((name) => name.startsWith(prefix))
            .sort()
        : [],
    read: async (name) => (existsSync(path(name)) ? readFileSync(path(name)) : undefined),
    write: async (name, bytes) => write(name, bytes, 'w'),
    create: async (name, bytes) => write(name, bytes, 'wx'),
  };
}

const [verb = '', input = '{}'] = process.argv.slice(2);
const task = Task.parse(JSON.parse(input));
const { signal } = new AbortController();
const sideOf = (store: Store): Side => {
  const end = endOf(store);
  return { ...end, receipts: new Receipts(folderFiles(join(task.files, 'copies', store.bucket)), end.store) };
};
const pairing: Pairing = {
  source: sideOf(task.source),
  target: sideOf(task.target),
  gate: new Gate(signal),
  files: folderFiles(task.files),
  callBytes,
  sha256: false,
  signal,
};
const everything = { after: '', to: '' };
const answer = (value: object): void => void process.stdout.write(`${JSON.stringify(value)}\n`);

if (verb === 'fill') {
  const { store } = pairing.source;
  const bytes = randomBytes(task.bytes);
  for (let at = 0; at < task.objects; at += 16)
    await Promise.all(
      Array.from({ length: Math.min(16, task.objects - at) }, (_, n) => {
        const content = Buffer.from(bytes);
        content.writeUInt32BE(at + n);
        const piece = { chunks: [content], bytes: content.length };
        const attributes = { headers: { 'content-type': 'application/octet-stream' }, metadata: {}, tags: {} };
        const key = `devices/${String(at + n).padStart(6, '0')}.bin`;
        const object = {
          key,
          size: content.length,
          attributes,
          expected: { absent: true as const },
          md5: md5Of(piece),
        };
        return store.write(object, piece, crc32(content), signal);
      }),
    );
  answer({});
} else if (verb === 'copy') {
  const started = performance.now();
  const manifest = await Manifest.open(pairing.files, 'copy');
  await copyRange(pairing, everything, manifest, { gone: false, changesOnly: false, beat: () => {} });
  await manifest.flush(true);
  const { rss } = process.resourceUsage ? { rss: process.resourceUsage().maxRSS / 1024 } : { rss: 0 };
  answer({ seconds: (performance.now() - started) / 1000, rss, ...manifest.totals });
} else {
  const known = new Map<string, Extract<ManifestLine, { how: 'copied' }>>();
  for await (const line of Manifest.read(pairing.files, 'copy')) if (line.how === 'copied') known.set(line.key, line);
  const report = new LineFiles(pairing.files, 'report-');
  const judged = verdicts({ pairing, bodies: 'needed' }, known, rangePairs(pairing, everything));
  answer(await verify(judged, { report, beat: () => {} }));
}
process.exit(0);
