/** The estate file as text: YAML 1.2, core schema, within bounds that a hostile file cannot use against us. For activities and programs, not for workflows. */
import {
  type Document,
  isAlias,
  isCollection,
  isMap,
  isPair,
  isScalar,
  isSeq,
  LineCounter,
  type Node,
  parseDocument,
  visit,
} from 'yaml';
import type { EstateResult } from './estate.ts';
import { type CheckOptions, checkEstate, fileError } from './estate-check.ts';
import type { Problem } from './estate-problems.ts';

const bounds = { bytes: 1024 * 1024, aliases: 100, depth: 32 } as const;
const coreTags = /^tag:yaml\.org,2002:(map|seq|str|int|float|bool|null)$/;

/** A problem of the text itself, with its line known. */
type Located = Problem & { at: number | undefined };

/**
 * Every mistake of the file at once, each with its YAML path and line; or the estate with its defaults filled in.
 * Never throws, whatever the text.
 */
export function parseEstateFile(text: string, options: Pick<CheckOptions, 'allowedNames'> = {}): EstateResult {
  const size = new TextEncoder().encode(text).length;
  if (size > bounds.bytes)
    return refused([{ path: [], found: `${size} bytes`, allowed: `at most ${bounds.bytes} bytes`, at: 1 }]);
  const deep = tooDeep(text);
  if (deep !== undefined)
    return refused([{ path: [], found: 'deeper nesting', allowed: `a depth of at most ${bounds.depth}`, at: deep }]);

  const lines = new LineCounter();
  const lineAt = (offset: number | undefined) => (offset === undefined ? undefined : lines.linePos(offset).line);
  const document = parseDocument(text, {
    version: '1.2',
    schema: 'core',
    merge: false,
    uniqueKeys: true,
    strict: true,
    prettyErrors: false,
    lineCounter: lines,
    logLevel: 'error',
  });
  // The library's own messages may quote the file, so only its codes are used.
  const syntax = [...document.errors, ...document.warnings].map(
    ({ code, pos }): Located => ({
      path: [],
      found: sayWrong(code),
      allowed: 'YAML 1.2, core schema',
      at: lineAt(pos[0]),
    }),
  );
  const structure = structureProblems(document, lineAt);
  if (syntax.length + structure.length > 0) return refused([...syntax, ...structure]);

  let value: unknown;
  try {
    value = document.toJS({ maxAliasCount: bounds.aliases });
  } catch {
    // A few aliases of aliases can stand for millions of nodes.
    return refused([
      { path: [], found: 'aliases that expand too far', allowed: `at most ${bounds.aliases} aliases`, at: 1 },
    ]);
  }
  return checkEstate(value, {
    ...options,
    lineOf: (path, atKey) => lineAt(offsetOf(document.contents, path, atKey)),
  });
}

const refused = (problems: readonly Located[]): EstateResult => ({
  ok: false,
  errors: problems.map((problem) => fileError(problem, () => problem.at)),
  warnings: [],
});

const sayWrong = (code: string): string =>
  code === 'DUPLICATE_KEY'
    ? 'a key that stands in this mapping already'
    : code === 'TAG_RESOLVE_FAILED'
      ? 'a tag that is not of the core schema'
      : code === 'MULTIPLE_DOCS'
        ? 'a second document'
        : `text that is not YAML (${code.toLowerCase().replaceAll('_', ' ')})`;

/**
 * The first line on which brackets or indentation nest deeper than allowed, found before the parser recurses into them.
 * Counts brackets in quoted text too: 32 of them in one file's open state are no estate.
 */
function tooDeep(text: string): number | undefined {
  let open = 0;
  let line = 1;
  let quote = '';
  const indents: number[] = [];
  let column = 0;
  let leading = true;
  for (const character of text) {
    if (character === '\n') {
      line += 1;
      column = 0;
      leading = true;
      continue;
    }
    if (leading && (character === ' ' || character === '-')) column += 1;
    else if (leading) {
      leading = false;
      while ((indents.at(-1) ?? -1) >= column) indents.pop();
      indents.push(column);
      if (indents.length > bounds.depth * 2) return line;
    }
    if (quote !== '') {
      if (character === quote) quote = '';
    } else if (character === '"' || character === "'") quote = character;
    else if (character === '[' || character === '{') open += 1;
    else if (character === ']' || character === '}') open = Math.max(0, open - 1);
    if (open > bounds.depth) return line;
  }
  return undefined;
}

function structureProblems(document: Document, lineAt: (offset: number | undefined) => number | undefined): Located[] {
  const problems: Located[] = [];
  let aliases = 0;
  const add = (node: unknown, found: string, allowed: string) =>
    problems.push({ path: [], found, allowed, at: lineAt(startOf(node)) });
  visit(document, {
    Node: (_, node, path) => {
      const depth = path.filter(isCollection).length + (isCollection(node) ? 1 : 0);
      if (depth > bounds.depth) {
        add(node, 'deeper nesting', `a depth of at most ${bounds.depth}`);
        return visit.BREAK;
      }
      if (isAlias(node)) {
        aliases += 1;
        const target = node.resolve(document);
        if (!target) add(node, 'an alias without an anchor before it', 'an alias of an anchor that stands before it');
        else if (path.includes(target)) add(node, 'an alias of what it stands in', 'an alias of something complete');
        if (aliases === bounds.aliases + 1)
          add(node, `more than ${bounds.aliases} aliases`, `at most ${bounds.aliases} aliases`);
      } else if (node.tag !== undefined && !coreTags.test(node.tag))
        add(node, 'a custom tag', 'tags of the core schema (map, seq, str, int, float, bool, null)');
      return undefined;
    },
    Pair: (_, pair) => {
      const key = isScalar(pair.key) ? pair.key.value : undefined;
      if (typeof key !== 'string') add(pair.key, 'a key that is not text', 'text as a key');
      else if (key === '__proto__') add(pair.key, 'the key __proto__', 'any other key');
      return undefined;
    },
  });
  return problems;
}

const startOf = (node: unknown): number | undefined =>
  (isScalar(node) || isCollection(node) || isAlias(node)) && node.range ? node.range[0] : undefined;

/** Where the node of a path begins; of a missing one, where its nearest parent's key does. */
function offsetOf(contents: Node | null, path: readonly PropertyKey[], atKey: boolean): number | undefined {
  let node: unknown = contents;
  let offset = startOf(contents) ?? 0;
  for (const [index, part] of path.entries()) {
    if (isMap(node)) {
      const pair = node.items.find((item) => isPair(item) && isScalar(item.key) && item.key.value === part);
      if (!pair) return offset;
      const keyAt = startOf(pair.key) ?? offset;
      const last = index === path.length - 1;
      // A collection begins on a later line than its key; a reader looks for the key.
      offset = (last && atKey) || !isScalar(pair.value) ? keyAt : (startOf(pair.value) ?? keyAt);
      node = pair.value;
    } else if (isSeq(node)) {
      node = typeof part === 'number' ? node.items[part] : undefined;
      offset = startOf(node) ?? offset;
    } else return offset;
  }
  return offset;
}
