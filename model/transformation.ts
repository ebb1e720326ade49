/**
 * What of the source's objects goes to the other sides, under which names and with which contents. Names go one to one, so that
 * every name on another side leads back to one of the source.
 */
import { z } from 'zod';

const KeyPart = z.string().min(1).max(500).describe('a part of a key, 1 to 500 characters');
const Field = z
  .string()
  .regex(/^[A-Za-z0-9_-]{1,60}(\.[A-Za-z0-9_-]{1,60}){0,9}$/)
  .describe('a field of each JSON line, such as user.email; at most 10 deep');

/** In this order, to each object on its way to the other sides. */
export const Transformation = z.discriminatedUnion('type', [
  /** Keys lose a beginning, and get another. Those that do not begin so stay where they are. */
  z.strictObject({ type: z.literal('prefix'), remove: KeyPart.optional(), add: KeyPart.optional() }),
  /** Only what fits goes: all that is given must. */
  z.strictObject({
    type: z.literal('filter'),
    prefix: KeyPart.optional(),
    suffix: KeyPart.optional(),
    /** As the object is at its source. */
    max_mb: z.number().min(0.001).max(50_000_000).describe('number of MB, 0.001 to 50000000').optional(),
  }),
  /** Of objects that hold JSON lines. On the way to the field a list stands for each of its elements. */
  z.strictObject({ type: z.literal('drop_field'), suffix: KeyPart.default('.jsonl'), field: Field }),
  z.strictObject({ type: z.literal('redact_field'), suffix: KeyPart.default('.jsonl'), field: Field }),
]);
export type Transformation = z.infer<typeof Transformation>;

export const Transformations = z.array(Transformation).max(20).describe('list of at most 20 transformations');

export interface Edit {
  path: readonly string[];
  does: 'drop' | 'redact';
}

export interface Transform {
  /** Larger objects stay where they are. */
  readonly mostBytes: number;
  /** The name that the source's key has on the other sides; undefined: it does not go there. */
  keyAt(key: string): string | undefined;
  /** The source's key of a name on another side; undefined where no key of the source has that name there. */
  keyFrom(name: string): string | undefined;
  /** What becomes of the contents of the source's object. */
  editsOf(key: string): Edit[];
}

/** How keys are named from side to side. */
export interface Names {
  /** The source's name of what has this name on a side; undefined where it goes nowhere. */
  keyOf(side: string, name: string): string | undefined;
  /** The other way round, of a key that goes. */
  nameAt(side: string, key: string): string;
}

export const namesOf = ({ keyAt, keyFrom }: Transform, source: string): Names => ({
  keyOf: (side, name) => (side === source ? (keyAt(name) === undefined ? undefined : name) : keyFrom(name)),
  nameAt: (side, key) => (side === source ? key : (keyAt(key) ?? key)),
});

const bytesPerMb = 1_000_000;

export function transformOf(all: readonly Transformation[]): Transform {
  const keyAt = (key: string, seen?: (one: Transformation, name: string) => void): string | undefined => {
    let name = key;
    for (const one of all) {
      seen?.(one, name);
      if (one.type === 'prefix') {
        const { remove = '', add = '' } = one;
        if (!name.startsWith(remove)) return undefined;
        name = add + name.slice(remove.length);
      } else if (one.type === 'filter') {
        const { prefix = '', suffix = '' } = one;
        if (!name.startsWith(prefix) || !name.endsWith(suffix)) return undefined;
      }
    }
    return name === '' ? undefined : name;
  };
  return {
    mostBytes: Math.min(...all.map((one) => ('max_mb' in one && one.max_mb ? one.max_mb * bytesPerMb : Infinity))),
    keyAt: (key) => keyAt(key),
    keyFrom(name) {
      let key = name;
      for (const one of all.toReversed()) {
        if (one.type !== 'prefix') continue;
        const { remove = '', add = '' } = one;
        if (!key.startsWith(add)) return undefined;
        key = remove + key.slice(add.length);
      }
      return keyAt(key) === name ? key : undefined;
    },
    editsOf(key) {
      const edits: Edit[] = [];
      keyAt(key, (one, name) => {
        if (one.type !== 'drop_field' && one.type !== 'redact_field') return;
        const does = one.type === 'drop_field' ? 'drop' : 'redact';
        if (name.endsWith(one.suffix)) edits.push({ path: one.field.split('.'), does });
      });
      return edits;
    },
  };
}

/** What cannot be read as JSON lines cannot be freed of a field, and stays where it is. */
export class NoLines extends Error {}

export const redacted = '[redacted]';

/** All that no edit names stays as it is, to the character. */
export function editLines(bytes: Uint8Array, edits: readonly Edit[]): Uint8Array {
  let text: string;
  try {
    text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    throw new NoLines('it is no UTF-8 text');
  }
  const lines = text.split('\n').map((line, at) => {
    if (line.trim() === '') return line;
    try {
      JSON.parse(line);
      return editLine(line, edits);
    } catch {
      throw new NoLines(`line ${at + 1} is no JSON`);
    }
  });
  return new TextEncoder().encode(lines.join('\n'));
}

interface Cut {
  from: number;
  to: number;
  put: string;
}

function editLine(line: string, edits: readonly Edit[]): string {
  const cuts: Cut[] = [];
  cutsIn(line, spaceEnd(line, 0), edits, cuts);
  let [edited, at] = ['', 0];
  for (const { from, to, put } of cuts.sort((a, b) => a.from - b.from)) {
    edited += line.slice(at, from) + put;
    at = to;
  }
  return edited + line.slice(at);
}

/** Where the value ends that begins here. Of JSON that is known to be right. */
function cutsIn(text: string, start: number, edits: readonly Edit[], cuts: Cut[]): number {
  if (edits.length === 0) return valueEnd(text, start);
  if (text[start] === '{') return membersIn(text, start, edits, cuts);
  if (text[start] !== '[') return valueEnd(text, start);
  let at = spaceEnd(text, start + 1);
  while (text[at] !== ']') {
    at = spaceEnd(text, cutsIn(text, at, edits, cuts));
    if (text[at] === ',') at = spaceEnd(text, at + 1);
  }
  return at + 1;
}

function membersIn(text: string, start: number, edits: readonly Edit[], cuts: Cut[]): number {
  const members: { from: number; to: number; goes: boolean }[] = [];
  let at = spaceEnd(text, start + 1);
  while (text[at] !== '}') {
    const from = at;
    const nameEnd = valueEnd(text, at);
    const name: unknown = JSON.parse(text.slice(from, nameEnd));
    const value = spaceEnd(text, spaceEnd(text, nameEnd) + 1);
    const mine = edits.filter(({ path }) => path[0] === name).map(({ path, does }) => ({ path: path.slice(1), does }));
    const here = mine.filter(({ path }) => path.length === 0);
    const goes = here.some(({ does }) => does === 'drop');
    const to = here.length > 0 ? valueEnd(text, value) : cutsIn(text, value, mine, cuts);
    if (here.length > 0 && !goes) cuts.push({ from: value, to, put: JSON.stringify(redacted) });
    members.push({ from, to, goes });
    at = spaceEnd(text, to);
    if (text[at] === ',') at = spaceEnd(text, at + 1);
  }
  // With each that goes, the comma before it; where none stays before it, the one after it.
  for (const [n, { from, to, goes }] of members.entries()) {
    if (!goes) continue;
    const stays = members.slice(0, n).some((one) => !one.goes);
    const [before, after] = [members[n - 1]?.to ?? from, members[n + 1]?.from ?? to];
    cuts.push(stays ? { from: before, to, put: '' } : { from, to: after, put: '' });
  }
  return at + 1;
}

function spaceEnd(text: string, start: number): number {
  let at = start;
  while (' \t\r\n'.includes(text[at] ?? '.')) at++;
  return at;
}

function valueEnd(text: string, start: number): number {
  let depth = 0;
  for (let at = start; ; at++) {
    const here = text[at];
    if (here === '"') {
      for (at++; text[at] !== '"'; at++) if (text[at] === '\\') at++;
      if (depth === 0) return at + 1;
    } else if (here === '{' || here === '[') depth++;
    else if (here === '}' || here === ']') {
      // One that is not its own ends a number or a word.
      if (depth === 0) return at;
      if (--depth === 0) return at + 1;
    } else if (depth === 0 && (here === undefined || ', \t\r\n'.includes(here))) return at;
  }
}
