/** `-f FILE`: an estate file judged on this machine, before anything is sent. */
import { readFileSync } from 'node:fs';
import type { Estate } from '../../model/estate.ts';
import { parseEstateFile } from '../../model/estate-file.ts';
import { printable } from '../../model/text.ts';
import type { FileSections } from '../index.ts';
import { Exit, exitCodes } from './exit.ts';

export function readEstate(file: string): Estate {
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch {
    throw new Exit(
      exitCodes.wrongUsage,
      `${file} cannot be read. Name an estate file with -f; config/multi-cloud.yaml is the sample.`,
    );
  }
  const parsed = parseEstateFile(text);
  if (parsed.ok) return parsed.estate;
  const lines = parsed.errors.map(
    ({ line, message }) => `  ${file}${line === undefined ? '' : `:${line}`}  ${printable(message)}`,
  );
  throw new Exit(
    exitCodes.wrongUsage,
    `${file} was refused, with ${lines.length} ${lines.length === 1 ? 'error' : 'errors'}:\n${lines.join('\n')}`,
  );
}

/** The sections that a run may carry. All others are the worker's own. */
export function sectionsOf({ services, placement, cost }: Estate): FileSections {
  return { services, placement, cost };
}
