/** `-f FILE`: an estate file judged on this machine, before anything is sent. */
import { readFileSync } from 'node:fs';
import type { Estate } from '../../model/estate.ts';
import { otherSections } from '../../model/estate-check.ts';
import { parseEstateFile } from '../../model/estate-file.ts';
import { printable } from '../../model/text.ts';
import type { PlanOptions } from '../index.ts';
import { Exit, exitCodes } from './exit.ts';

/** `allowAllNames`: the worker that gets parts of the file judges itself which names of secrets it allows. */
export function readEstate(file: string, { allowAllNames = false } = {}): Estate {
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch {
    throw new Exit(
      exitCodes.wrongUsage,
      `${file} cannot be read. Name an estate file with -f; config/multi-cloud.yaml is the sample.`,
      'InvalidInput',
    );
  }
  const allowedNames = allowAllNames
    ? [...text.matchAll(/\$\{([A-Za-z_][A-Za-z0-9_]*)\}/g)].map(([, name = '']) => name)
    : undefined;
  const parsed = parseEstateFile(text, { allowedNames });
  if (parsed.ok) return parsed.estate;
  const lines = parsed.errors.map(
    ({ line, message }) => `  ${file}${line === undefined ? '' : `:${line}`}  ${printable(message)}`,
  );
  throw new Exit(
    exitCodes.wrongUsage,
    `${file} was refused, with ${lines.length} ${lines.length === 1 ? 'error' : 'errors'}:\n${lines.join('\n')}`,
    'InvalidInput',
    { errors: parsed.errors },
  );
}

/** What a run may carry of a file, and digests of the rest, which must be as the worker has it. */
export function inputOf(file: string | undefined): Pick<PlanOptions, 'file' | 'others'> {
  if (file === undefined) return {};
  const estate = readEstate(file, { allowAllNames: true });
  const { services, placement, cost } = estate;
  return { file: { services, placement, cost }, others: otherSections(estate) };
}
