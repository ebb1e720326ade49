/** Histories as text that can be searched: payloads are bytes there, and a secret in them would not be seen. */
import type { Client } from '@temporalio/client';

export type History = Awaited<ReturnType<ReturnType<Client['workflow']['getHandle']>['fetchHistory']>>;

/** The whole history as JSON, every payload decoded. */
export const textOf = (history: History): string =>
  JSON.stringify(history, (_, value: unknown) => {
    if (value instanceof Uint8Array) return Buffer.from(value).toString('utf8');
    // A Buffer has been through its own toJSON by the time we see it.
    if (typeof value === 'object' && value !== null && 'type' in value && value.type === 'Buffer' && 'data' in value)
      return Buffer.from(value.data as number[]).toString('utf8');
    return value;
  });

/** Every run of the namespace with its history. */
export async function allHistories(client: Client): Promise<{ workflowId: string; type: string; history: History }[]> {
  const found: { workflowId: string; type: string; history: History }[] = [];
  for await (const { workflowId, runId, type } of client.workflow.list())
    found.push({ workflowId, type, history: await client.workflow.getHandle(workflowId, runId).fetchHistory() });
  return found;
}
