/**
 * Compares two sides as a worker does, in a process of its own with what that needs and no more (a worker has the SDKs of all clouds
 * besides), and says on stdout what it has found and how much memory that took. `settleMs` is its argument; the connection map leads to
 * the sides.
 */
import { readFileSync } from 'node:fs';
import { Clients } from '../../activities/providers/aws/clients.ts';
import { classify as classifyAws } from '../../activities/providers/aws/errors.ts';
import { s3Store } from '../../activities/providers/aws/object-store.ts';
import type { Provider } from '../../activities/providers/driver.ts';
import { classify as classifyGcp } from '../../activities/providers/gcp/errors.ts';
import { gcsStore } from '../../activities/providers/gcp/object-store.ts';
import { PooledHttp } from '../../activities/providers/pooled-http.ts';
import { compareSides } from '../../activities/transfer/compare-sides.ts';
import type { Side } from '../../activities/transfer/copy-object.ts';
import { type Files, fromLines } from '../../activities/transfer/files.ts';
import { Gate } from '../../activities/transfer/gate.ts';
import { Receipts } from '../../activities/transfer/receipts.ts';
import { conflictRule } from '../../model/conflict.ts';
import { namesOf, transformOf } from '../../model/transformation.ts';
import { bucket, region } from './listings.ts';

const { signal } = new AbortController();
const settings = { name: 'scale', region, pollMs: 1000, callDeadlineMs: 60_000 };
const credentials = { access_key_id: 'scale', secret_access_key: 'scale' };

/** What differs is little. */
function memoryFiles(): Files {
  const files = new Map<string, Uint8Array>();
  const write = async (name: string, bytes: Uint8Array): Promise<void> => void files.set(name, bytes);
  return {
    key: (name) => name,
    list: async (prefix) => [...files.keys()].filter((name) => name.startsWith(prefix)).sort(),
    read: async (name) => files.get(name),
    ...{ write, create: write },
  };
}

const files = memoryFiles();
const sideOf = (name: string, end: Pick<Side, 'provider' | 'store'>) => ({
  ...{ ...end, name, receipts: new Receipts(files, end.store), expiresMs: undefined },
});
const http = () => new PooledHttp({ idleMs: settings.callDeadlineMs });
const aws = sideOf('aws', {
  provider: { type: 'aws', classify: classifyAws } as Provider,
  store: s3Store(new Clients({ ...settings, credentials }), http(), { bucket, region, account: '000000000000' }),
});
const gcp = sideOf('gcp', {
  provider: { type: 'gcp', classify: classifyGcp } as Provider,
  store: gcsStore(http(), async () => 'anybody', bucket),
});
const transform = transformOf([]);
const began = performance.now();
const idleMB = process.memoryUsage().rss / 1024 ** 2;
const { report, ...found } = await compareSides({
  ...{ sides: [aws, gcp], files, prefix: '', settleMs: Number(process.argv[2]), gate: new Gate(signal), signal },
  ...{ source: 'aws', oneWay: false, transform, naming: namesOf(transform, 'aws') },
  rule: conflictRule('last-write-wins', 'aws'),
  copyOf: async () => undefined,
  changeOf: async ({ name }, { modified }) => {
    const time = Date.parse(modified);
    return { stamp: { time, origin: name, sequence: '' }, seen: { [name]: time } };
  },
  beat: () => {},
});
const lines = await Promise.all(
  (await files.list(report)).map(async (name) => fromLines((await files.read(name)) ?? Buffer.alloc(0))),
);
// Not what `resourceUsage` says: that remembers the process that has started this one.
const mostMB = Number(/VmHWM:\s+(\d+)/.exec(readFileSync('/proc/self/status', 'utf8'))?.[1]) / 1024;
process.stdout.write(
  `${JSON.stringify({ ...found, lines: lines.flat(), seconds: (performance.now() - began) / 1000, idleMB, mostMB })}\n`,
);
process.exit(0);
