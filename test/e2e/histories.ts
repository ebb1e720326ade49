/** Histories as text that can be searched: payloads are bytes there, and a secret in them would not be seen. */
import type { Client } from '@temporalio/client';

export type History = Awaited<ReturnType<ReturnType<Client['workflow']['getHandle']>['fetchHistory']>>;

/** The whole history as JSON, every payload decoded: they are bytes, which JSON has in base64. */
export const textOf = (history: History): string =>
  JSON.stringify(history, (key, value: unknown) =>
    key === 'data' && typeof value === 'string' ? Buffer.from(value, 'base64').toString('utf8') : value,
  );

/** Every run of the namespace with its history. */
export async function allHistories(client: Client): Promise<{ workflowId: string; type: string; history: History }[]> {
  const found: { workflowId: string; type: string; history: History }[] = [];
  for await (const { workflowId, runId, type } of client.workflow.list())
    found.push({ workflowId, type, history: await client.workflow.getHandle(workflowId, runId).fetchHistory() });
  return found;
}
