/** The `filter` of Compute Engine's list calls, as far as it is served: comparisons joined by AND, in parentheses or bare. */
import type { Json, JsonObject } from '../../model/service.ts';
import { isObject } from './compute-definition.ts';
import { invalid } from './compute-kinds.ts';

const comparison = /^\(?\s*([\w.-]+)\s*(!=|=|:)\s*(?:"([^"]*)"|([^\s()"]+))\s*\)?$/;

export function matchesFilter(item: JsonObject, filter: string | null): boolean {
  if (!filter) return true;
  return filter.split(/\s+AND\s+|\)\s*(?=\()/).every((part) => {
    const [, field = '', operator, quoted, bare] = comparison.exec(part.trim()) ?? [];
    if (!operator) throw invalid(`Invalid value for field 'filter': '${filter}'`);
    const wanted = quoted ?? bare ?? '';
    const value = valueAt(item, field);
    if (operator === ':') return wanted === '*' ? value !== undefined : String(value ?? '').includes(wanted);
    return (String(value ?? '') === wanted) === (operator === '=');
  });
}

function valueAt(item: JsonObject, field: string): Json | undefined {
  return field.split('.').reduce<Json | undefined>((value, key) => (isObject(value) ? value[key] : undefined), item);
}
