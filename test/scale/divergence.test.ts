/** Two sides with very many objects of which ten differ: exactly those are named, from one listing a side, in little memory. */
import { execFile } from 'node:child_process';
import { join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { promisify } from 'node:util';
import { keyOf, Listings, type Special } from './listings.ts';
import { loadNow } from './processes.ts';
import { scale } from './scale.ts';

const root = resolve(import.meta.dirname, '../..');
const objects = scale.on ? scale.objects : 5000;
/** Spread over the whole listing, its first and last lines among them. */
const special = new Map<number, Special>(
  Array.from({ length: 10 }, (_, at) => [
    Math.round((at * (objects - 1)) / 9),
    { on: at % 2 ? 'aws' : 'gcp', is: (['missing', 'other', 'longer'] as const)[at % 3] ?? 'missing' },
  ]),
);
const whats = { missing: 'missing', other: 'content', longer: 'size' };

it(`of ${objects} objects exactly the ten that differ are named, from one listing a side, in 200 MB more than at rest`, async () => {
  const listings = await Listings.of(objects, special);
  const load = loadNow();
  const { stdout } = await promisify(execFile)(
    process.execPath,
    [
      ...[
        '--max-semi-space-size=2',
        '--max-old-space-size=256',
        '--import',
        pathToFileURL(join(root, 'workers/network.ts')).href,
        '--disable-warning=ExperimentalWarning',
      ],
      ...[join(import.meta.dirname, 'scan.ts'), '200'],
    ],
    { env: { ...process.env, MULTI_CLOUD_NETWORK: listings.network, NODE_OPTIONS: '' }, maxBuffer: 2 ** 26 },
  ).finally(() => listings.close());
  const { lines, seconds, idleMB, mostMB, ...found } = JSON.parse(stdout);
  process.stderr.write(
    `    ${objects} objects in ${seconds.toFixed(1)} s, ${Math.round(mostMB)} MB at the most (${Math.round(idleMB)} MB before), looked at ${JSON.stringify(listings.heads)}, load ${load} to ${loadNow()}\n`,
  );
  const named = [...special].map(([n, { is }]) => ({
    key: keyOf(n),
    differs: [expect.objectContaining({ what: whats[is] })],
  }));
  expect(lines).toHaveLength(special.size);
  expect(lines).toEqual(expect.arrayContaining(named.map((line) => expect.objectContaining(line))));
  expect(found).toMatchObject({ objects, same: objects - special.size, changing: 0, bodiesRead: { objects: 0 } });
  const pages = Math.ceil(objects / 1000);
  expect(listings.pages).toEqual({ aws: pages, gcp: pages });
  // The SDKs of the clouds alone, at rest, have more.
  expect(mostMB - idleMB).toBeLessThan(200);
}, 1_800_000);
