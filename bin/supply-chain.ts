/**
 * Holds what CONTRIBUTING.md says of dependencies: exact versions, a hash for each, licenses of the allow-list, no install
 * script that nobody has looked at. Prints each that breaks a rule, and fails.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { type Dependency, dependencies } from './dependencies.ts';

const allowed = [
  ...['Apache-2.0', 'MIT', 'MIT-0', 'ISC', '0BSD', 'BSD-2-Clause', 'BSD-3-Clause', 'BlueOak-1.0.0'],
  ...['Unlicense', 'CC0-1.0', 'PSF-2.0'],
];
/** Others, for these packages alone. */
const exceptions: Record<string, string> = {
  // Data about browsers, used by webpack, which bundles the workflows when a worker starts.
  'caniuse-lite': 'CC-BY-4.0',
  // Mozilla's list of certificate authorities, unchanged, for the local AWS.
  certifi: 'MPL-2.0',
  // Public domain, or MIT where there is none: the text behind that address.
  'uri-templates': 'http://geraintluff.github.io/tv4/LICENSE.txt',
};

/** `MIT`, `Apache-2.0 AND MIT`, `(MIT OR CC0-1.0)`: no expression here mixes both. */
function isAllowed({ name, license }: Dependency): boolean {
  if (exceptions[name] === license) return true;
  const words = license.replace(/^\((.*)\)$/, '$1');
  const known = (one: string): boolean => allowed.includes(one);
  return words.includes(' OR ') ? words.split(' OR ').some(known) : words.split(' AND ').every(known);
}

const Manifest = z.object({
  allowScripts: z.record(z.string(), z.literal(false)),
  dependencies: z.record(z.string(), z.string()),
  devDependencies: z.record(z.string(), z.string()),
});
const manifest = Manifest.parse(JSON.parse(readFileSync(join(import.meta.dirname, '../package.json'), 'utf8')));

const all = dependencies();
const scripted = new Set(all.filter(({ installScript }) => installScript).map(({ name }) => name));
const declared = Object.entries({ ...manifest.dependencies, ...manifest.devDependencies });
const broken = [
  ...declared
    .filter(([, version]) => !/^(\d+\.\d+\.\d+|file:.*)$/.test(version))
    .map(([name, version]) => `package.json: ${name} ${version} is no exact version`),
  ...all
    .filter(({ hashes }) => hashes.length === 0)
    .map(({ ecosystem, name, version }) => `${ecosystem} ${name} ${version} has no hash`),
  ...all
    .filter((one) => !isAllowed(one))
    .map(
      ({ ecosystem, name, version, license, development }) =>
        `${ecosystem} ${name} ${version}: license ${license || 'unknown'} is not among ${allowed.join(', ')}${development ? '' : ' (it runs in production)'}`,
    ),
  ...[...scripted]
    .filter((name) => !(name in manifest.allowScripts))
    .map((name) => `${name} has an install script: see what it does, and name it in allowScripts of package.json`),
  ...Object.keys(manifest.allowScripts)
    .filter((name) => !scripted.has(name))
    .map((name) => `allowScripts of package.json names ${name}, which has no install script`),
];
if (broken.length > 0) {
  process.stderr.write(`${broken.join('\n')}\n`);
  process.exit(1);
}
