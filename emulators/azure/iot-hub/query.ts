/**
 * The part of IoT Hub's query language that is served: `SELECT * | path[, path] | COUNT() AS name FROM devices [WHERE …]`
 * with comparisons, IN, IS_DEFINED, STARTSWITH, AND, OR, NOT and parentheses.
 * https://learn.microsoft.com/azure/iot-hub/iot-hub-devguide-query-language
 */
export type Row = Record<string, unknown>;
export interface Query {
  /** Undefined for `SELECT *`. */
  select: readonly string[] | undefined;
  count: string | undefined;
  matches: (row: Row) => boolean;
}
type Test = (row: Row) => boolean;

export class QueryError extends Error {}

const tokens =
  /\s*('(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|-?\d+(?:\.\d+)?|[A-Za-z_$][\w$]*(?:\.[\w$-]+)*|<=|>=|!=|<>|[=<>()[\],*])/y;

function tokenize(text: string): string[] {
  const found: string[] = [];
  const end = text.trimEnd();
  tokens.lastIndex = 0;
  while (tokens.lastIndex < end.length) {
    const match = tokens.exec(end);
    if (!match?.[1]) throw new QueryError(`BadRequest: the query cannot be read near the end of: ${end.slice(0, 80)}`);
    found.push(match[1]);
  }
  return found;
}

const valueAt = (row: unknown, path: string): unknown =>
  path
    .replace(/^devices\./i, '')
    .split('.')
    .reduce<unknown>(
      (value, name) =>
        typeof value === 'object' && value !== null && Object.hasOwn(value, name) ? (value as Row)[name] : undefined,
      row,
    );

class Parser {
  readonly #tokens: string[];
  #at = 0;

  constructor(text: string) {
    this.#tokens = tokenize(text);
  }

  query(): Query {
    this.#word('select');
    let select: string[] | undefined;
    let count: string | undefined;
    if (this.#try('*')) select = undefined;
    else if (this.#try('count')) {
      this.#word('(');
      this.#word(')');
      count = this.#try('as') ? this.#next() : 'count';
    } else {
      select = [this.#next()];
      while (this.#try(',')) select.push(this.#next());
    }
    this.#word('from');
    this.#word('devices');
    const matches: Test = this.#try('where') ? this.#or() : () => true;
    if (this.#at < this.#tokens.length) throw new QueryError(`BadRequest: unexpected ${this.#tokens[this.#at]}`);
    return { select, count, matches };
  }

  #or(): Test {
    const tests = [this.#and()];
    while (this.#try('or')) tests.push(this.#and());
    return (row) => tests.some((test) => test(row));
  }

  #and(): Test {
    const tests = [this.#not()];
    while (this.#try('and')) tests.push(this.#not());
    return (row) => tests.every((test) => test(row));
  }

  #not(): Test {
    if (!this.#try('not')) return this.#primary();
    const test = this.#not();
    return (row) => !test(row);
  }

  #primary(): Test {
    if (this.#try('(')) {
      const test = this.#or();
      this.#word(')');
      return test;
    }
    const path = this.#next();
    if (/^is_defined$/i.test(path)) {
      const [of] = this.#arguments();
      return (row) => of?.(row) !== undefined;
    }
    if (/^startswith$/i.test(path)) {
      const [text, start] = this.#arguments();
      return (row) => String(text?.(row) ?? '').startsWith(String(start?.(row)));
    }
    const left = (row: Row): unknown => valueAt(row, path);
    const operator = this.#next().toLowerCase();
    if (operator === 'in') {
      this.#word('[');
      const values = [this.#operand()];
      while (this.#try(',')) values.push(this.#operand());
      this.#word(']');
      return (row) => values.some((value) => value(row) === left(row));
    }
    const right = this.#operand();
    const compare: Record<string, (a: unknown, b: unknown) => boolean> = {
      '=': (a, b) => a === b,
      '!=': (a, b) => a !== undefined && a !== b,
      '<>': (a, b) => a !== undefined && a !== b,
      '<': (a, b) => order(a, b) < 0,
      '>': (a, b) => order(a, b) > 0,
      '<=': (a, b) => order(a, b) <= 0,
      '>=': (a, b) => order(a, b) >= 0,
    };
    const judge = compare[operator];
    if (!judge) throw new QueryError(`BadRequest: unknown operator ${operator}`);
    return (row) => judge(left(row), right(row));
  }

  #arguments(): ((row: Row) => unknown)[] {
    this.#word('(');
    const values = [this.#operand()];
    while (this.#try(',')) values.push(this.#operand());
    this.#word(')');
    return values;
  }

  #operand(): (row: Row) => unknown {
    const token = this.#next();
    if (/^['"]/.test(token)) {
      const text = token.slice(1, -1).replace(/\\(.)/g, '$1');
      return () => text;
    }
    if (/^-?\d/.test(token)) return () => Number(token);
    if (/^(true|false)$/i.test(token)) return () => token.toLowerCase() === 'true';
    if (/^null$/i.test(token)) return () => null;
    return (row) => valueAt(row, token);
  }

  #next(): string {
    const token = this.#tokens[this.#at++];
    if (token === undefined) throw new QueryError('BadRequest: the query ends too early');
    return token;
  }

  #try(word: string): boolean {
    if (this.#tokens[this.#at]?.toLowerCase() !== word) return false;
    this.#at++;
    return true;
  }

  #word(word: string): void {
    if (!this.#try(word)) throw new QueryError(`BadRequest: expected ${word}`);
  }
}

/** NaN for what has no order, so that every comparison is false. */
function order(a: unknown, b: unknown): number {
  if (typeof a === 'number' && typeof b === 'number') return a - b;
  if (typeof a === 'string' && typeof b === 'string') return a < b ? -1 : Number(a > b);
  return Number.NaN;
}

export const parseQuery = (text: string): Query => new Parser(text).query();

export const project = (row: Row, select: readonly string[] | undefined): Row =>
  select ? Object.fromEntries(select.map((path) => [path.split('.').at(-1) ?? path, valueAt(row, path)])) : row;
