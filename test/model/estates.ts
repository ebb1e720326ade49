/** Estates for tests: the smallest one that is right, to be changed. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { loadSheets } from '../../config/load.ts';
import type { Estate } from '../../model/estate.ts';
import { checkEstate } from '../../model/estate-check.ts';
import { parseEstateFile } from '../../model/estate-file.ts';

const root = join(import.meta.dirname, '../..');
export const textOf = (path: string): string => readFileSync(join(root, path), 'utf8');
export const sheets = loadSheets(join(root, 'config'));

export const clouds = [
  { name: 'aws', type: 'aws', region: 'us-west-2', priority: 1 },
  { name: 'azure', type: 'azure', region: 'westus2', priority: 2 },
  { name: 'gcp', type: 'gcp', region: 'us-central1', priority: 3 },
];

/** Throws with every mistake when it is none. */
export function estateOf(value: Record<string, unknown>): Estate {
  const checked = checkEstate({ providers: clouds, ...value });
  if (!checked.ok) throw new Error(checked.errors.map(({ message }) => message).join('\n'));
  return checked.estate;
}

export function fileOf(path: string): Estate {
  const parsed = parseEstateFile(textOf(path));
  if (!parsed.ok) throw new Error(parsed.errors.map(({ message }) => message).join('\n'));
  return parsed.estate;
}
