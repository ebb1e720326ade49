/** Checks that the namespace has the search attributes that workflows write; without one, every workflow task would hang. */
import type { Connection } from '@temporalio/client';
import { searchAttributes } from '../workflows/search-attributes.ts';

const cliTypes: Record<string, string> = {
  KEYWORD: 'Keyword',
  KEYWORD_LIST: 'KeywordList',
  DOUBLE: 'Double',
  BOOL: 'Bool',
};

export async function checkSearchAttributes(
  connection: Pick<Connection, 'operatorService'>,
  namespace: string,
): Promise<void> {
  const { customAttributes } = await connection.operatorService.listSearchAttributes({ namespace });
  const missing = Object.values(searchAttributes).filter(({ name }) => !(name in (customAttributes ?? {})));
  if (missing.length === 0) return;
  const command = missing.map(({ name, type }) => `--name ${name} --type ${cliTypes[type] ?? type}`).join(' ');
  throw new Error(
    `The namespace ${namespace} lacks search attributes. Create them, then start the worker again:\n` +
      `  temporal operator search-attribute create --namespace ${namespace} ${command}`,
  );
}
