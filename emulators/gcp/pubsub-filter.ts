/** Filters of subscriptions: https://cloud.google.com/pubsub/docs/subscription-message-filter#filtering_syntax. */
import { GoogleError } from './google-error.ts';

export type Filter = (attributes: Readonly<Record<string, string>>) => boolean;

const tokens = /\s*(hasPrefix|attributes|AND|OR|NOT|[():.,]|!=|=|-|"(?:[^"\\]|\\.)*"|[A-Za-z_][\w-]*)/y;

export function parseFilter(text: string): Filter {
  const words: string[] = [];
  tokens.lastIndex = 0;
  while (tokens.lastIndex < text.trimEnd().length) {
    const found = tokens.exec(text);
    if (!found) throw new GoogleError('invalid', `The filter is malformed: ${text}`);
    words.push(found[1] ?? '');
  }
  let at = 0;
  const fail = (): never => {
    throw new GoogleError('invalid', `The filter is malformed near ${words[at] ?? 'its end'}: ${text}`);
  };
  const take = (word: string): void => void (words[at] === word ? at++ : fail());
  const name = (): string => {
    const word = words[at++] ?? fail();
    if (word.startsWith('"')) return String(JSON.parse(word));
    return /^[A-Za-z_]/.test(word) ? word : fail();
  };
  const quoted = (): string => {
    const word = words[at++] ?? '';
    return word.startsWith('"') ? String(JSON.parse(word)) : fail();
  };

  const attribute = (): string => {
    take('attributes');
    take('.');
    return name();
  };
  const term = (): Filter => {
    if (words[at] === 'NOT' || words[at] === '-') {
      at++;
      const inner = term();
      return (attributes) => !inner(attributes);
    }
    if (words[at] === '(') {
      at++;
      const inner = expression();
      take(')');
      return inner;
    }
    if (words[at] === 'hasPrefix') {
      at++;
      take('(');
      const key = attribute();
      take(',');
      const prefix = quoted();
      take(')');
      return (attributes) => attributes[key]?.startsWith(prefix) ?? false;
    }
    if (words[at + 1] === ':') {
      take('attributes');
      take(':');
      const key = name();
      return (attributes) => key in attributes;
    }
    const key = attribute();
    const operator = words[at++];
    const value = quoted();
    if (operator === '=') return (attributes) => attributes[key] === value;
    if (operator === '!=') return (attributes) => key in attributes && attributes[key] !== value;
    return fail();
  };
  /** AND and OR may not be mixed without parentheses. */
  const expression = (): Filter => {
    const terms = [term()];
    const operator = words[at];
    while (words[at] === 'AND' || words[at] === 'OR') {
      if (words[at] !== operator) fail();
      at++;
      terms.push(term());
    }
    return operator === 'OR'
      ? (attributes) => terms.some((one) => one(attributes))
      : (attributes) => terms.every((one) => one(attributes));
  };
  const filter = expression();
  if (at < words.length) fail();
  return filter;
}
