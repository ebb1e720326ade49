/**
 * `npm run sbom [FILE]`: the bill of materials as CycloneDX 1.6 JSON, on stdout or into a file. Everything that is installed
 * from a registry; `scope: excluded` marks what only tests, tools and the local mode need. The same lockfiles give the same bytes.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Dependency, dependencies } from './dependencies.ts';

const { name, version, license } = JSON.parse(readFileSync(join(import.meta.dirname, '../package.json'), 'utf8'));

/** https://github.com/package-url/purl-spec: the `@` of a scope is encoded, its slash is not. */
const purl = ({ ecosystem, name, version }: Pick<Dependency, 'ecosystem' | 'name' | 'version'>): string =>
  `pkg:${ecosystem}/${name.split('/').map(encodeURIComponent).join('/')}@${version}`;

const isExpression = (license: string): boolean => / (AND|OR) /.test(license);
function licensesOf(license: string): object[] {
  if (!license) return [];
  if (isExpression(license)) return [{ expression: license.replace(/^\((.*)\)$/, '$1') }];
  return [{ license: license.includes('://') ? { name: license } : { id: license } }];
}

const document = {
  bomFormat: 'CycloneDX',
  specVersion: '1.6',
  version: 1,
  metadata: {
    component: { type: 'application', name, version, 'bom-ref': `${name}@${version}`, licenses: licensesOf(license) },
  },
  components: dependencies().map((one) => ({
    type: 'library',
    'bom-ref': purl(one),
    name: one.name,
    version: one.version,
    purl: purl(one),
    scope: one.development ? 'excluded' : 'required',
    ...(one.license && { licenses: licensesOf(one.license) }),
    // One file an npm release. A PyPI release has several, of which each platform takes its own.
    ...(one.hashes.length === 1
      ? { hashes: one.hashes.map(({ algorithm, hex }) => ({ alg: algorithm, content: hex })) }
      : { properties: one.hashes.map(({ hex }) => ({ name: 'multi-cloud:sha256', value: hex })) }),
  })),
};

const text = `${JSON.stringify(document, null, 2)}\n`;
const [file] = process.argv.slice(2);
if (file) writeFileSync(file, text);
else process.stdout.write(text);
