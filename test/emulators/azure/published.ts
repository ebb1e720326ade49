/** What the vendor's own client sends: the published definition that the local Azure is held against. */
import { join } from 'node:path';

/**
 * Names of the properties of a type that a client sends (`Serializer`) or reads (`Deserializer`). These functions are not
 * among the exports of the clients' packages, so they are asked for by their file.
 */
export async function publishedProperties(
  client: string,
  models: string,
  type: string,
  side: 'Serializer' | 'Deserializer',
): Promise<string[]> {
  const file = join(import.meta.dirname, `../../../node_modules/@azure/${client}/dist/esm/${models}/models.js`);
  const functions: Record<string, (item: object) => object> = await import(file);
  const name = type.replace(/^[A-Z]+?(?=[A-Z][a-z])|^[A-Z]/, (start) => start.toLowerCase());
  const properties =
    functions[`${name}PropertiesFormat${side}`] ??
    functions[`${name}Properties${side}`] ??
    functions[`_${name}Properties${side}`];
  if (!properties) throw new Error(`${file} has no ${side} for the properties of ${type}`);
  return Object.keys(properties({})).toSorted();
}
