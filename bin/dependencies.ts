/** What this project is made of besides its own sources: the packages of npm's lockfiles and of the Python requirements. */
import { existsSync, globSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { z } from 'zod';

const root = join(import.meta.dirname, '..');

export interface Dependency {
  ecosystem: 'npm' | 'pypi';
  name: string;
  version: string;
  /** SPDX expression; empty where nobody says it, or where it is not installed here and its lockfile is silent. */
  license: string;
  /** `sha512`, hex: npm. `sha256`, hex, one for each file of the release: PyPI. */
  hashes: { algorithm: 'SHA-512' | 'SHA-256'; hex: string }[];
  /** Not part of what runs in production: tests, tools, local clouds. */
  development: boolean;
  /** npm would run a script of it at its installation. */
  installScript: boolean;
}

const Lockfile = z.object({
  packages: z.record(
    z.string(),
    z.object({
      name: z.string().optional(),
      version: z.string().optional(),
      license: z.string().optional(),
      integrity: z.string().optional(),
      link: z.boolean().optional(),
      dev: z.boolean().optional(),
      hasInstallScript: z.boolean().optional(),
    }),
  ),
});

/** `node_modules/a/node_modules/@b/c` is the package `@b/c`. */
const nameOf = (path: string): string => path.slice(path.lastIndexOf('node_modules/') + 'node_modules/'.length);

function ofLockfile(file: string): Dependency[] {
  const { packages } = Lockfile.parse(JSON.parse(readFileSync(join(root, file), 'utf8')));
  const found = Object.entries(packages)
    // A package of our own folders has no version there.
    .filter(([path, { link, version }]) => path.includes('node_modules/') && !link && version !== undefined)
    .map(
      ([path, { name = nameOf(path), version = '', license = '', integrity, dev, hasInstallScript }]): Dependency => {
        const [, digest] = /^sha512-(.+)$/.exec(integrity ?? '') ?? [];
        return {
          ecosystem: 'npm',
          name,
          version,
          license: license || licenseFile(join(root, dirname(file), path)),
          hashes: digest ? [{ algorithm: 'SHA-512', hex: Buffer.from(digest, 'base64').toString('hex') }] : [],
          development: dev === true,
          installScript: hasInstallScript === true,
        };
      },
    );
  // One that lies in several places is one; production where one of them is.
  const all = new Map<string, Dependency>();
  for (const one of found) {
    const key = `${one.name}@${one.version}`;
    all.set(key, { ...one, development: one.development && (all.get(key)?.development ?? true) });
  }
  return [...all.values()];
}

/** Older packages name their license in a list, or in a file alone. */
function licenseFile(folder: string): string {
  const manifest = join(folder, 'package.json');
  if (!existsSync(manifest)) return '';
  const Old = z.object({ licenses: z.array(z.object({ type: z.string() })).optional() });
  const [old] = Old.parse(JSON.parse(readFileSync(manifest, 'utf8'))).licenses ?? [];
  if (old) return old.type;
  const [file] = globSync('LICEN[SC]E*', { cwd: folder });
  const text = file ? readFileSync(join(folder, file), 'utf8') : '';
  return Object.entries(openings).find(([, opening]) => text.replaceAll(/\s+/g, ' ').includes(opening))?.[0] ?? '';
}

const openings = {
  MIT: 'Permission is hereby granted, free of charge, to any person obtaining a copy',
  Unlicense: 'This is free and unencumbered software released into the public domain',
};

/** PyPI's older classifiers. */
const classifiers: Record<string, string> = {
  'MIT License': 'MIT',
  'Apache Software License': 'Apache-2.0',
  'BSD License': 'BSD-3-Clause',
  'Python Software Foundation License': 'PSF-2.0',
  'Mozilla Public License 2.0 (MPL 2.0)': 'MPL-2.0',
};

/** The Python environment serves the local mode only. Licenses are those of what is installed; elsewhere they stay empty. */
function ofRequirements(): Dependency[] {
  const text = readFileSync(join(root, 'config/python-requirements.txt'), 'utf8');
  const licenses = installedLicenses();
  return [...text.matchAll(/^([a-z0-9_.-]+)==(\S+)[^\n]*((?:\n {4}--hash=sha256:[0-9a-f]{64}[^\n]*)+)/gm)].map(
    ([, name = '', version = '', hashes = '']): Dependency => ({
      ecosystem: 'pypi',
      name,
      version,
      license: licenses.get(name) ?? '',
      hashes: [...hashes.matchAll(/sha256:([0-9a-f]{64})/g)].map(([, hex = '']) => ({ algorithm: 'SHA-256', hex })),
      development: true,
      installScript: false,
    }),
  );
}

/** By normalised name: what a distribution says of itself, in the new field or in the older ones. */
function installedLicenses(): Map<string, string> {
  const files = globSync('.local/python/lib/python3*/site-packages/*.dist-info/METADATA', { cwd: root });
  return new Map(
    files.map((file) => {
      const text = readFileSync(join(root, file), 'utf8').split('\n\n')[0] ?? '';
      const field = (pattern: RegExp): string => pattern.exec(text)?.[1]?.trim() ?? '';
      const name = field(/^Name: (.*)$/m)
        .toLowerCase()
        .replace(/[-_.]+/g, '-');
      const license =
        field(/^License-Expression: (.*)$/m) ||
        field(/^Classifier: License :: OSI Approved :: (.*)$/m) ||
        field(/^License: (.*)$/m);
      return [name, classifiers[license] ?? license];
    }),
  );
}

export const dependencies = (): Dependency[] =>
  [...ofLockfile('package-lock.json'), ...ofLockfile('bin/node/package-lock.json'), ...ofRequirements()].sort((a, b) =>
    `${a.ecosystem} ${a.name} ${a.version}` < `${b.ecosystem} ${b.name} ${b.version}` ? -1 : 1,
  );
