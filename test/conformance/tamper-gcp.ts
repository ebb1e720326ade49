/** Puts content into what holds some, as others would. */
import type { Observed } from '../../activities/providers/driver.ts';
import { accounts } from '../../emulators/environment.ts';
import { ownerRequest } from './limited-gcp.ts';

export async function tamperGcp(_region: string, observed: Readonly<Record<string, Observed>>): Promise<void> {
  const { bucket, registry, catalogue } = observed;
  for (const name of [bucket, registry].flatMap((store) => store?.outputs.bucket ?? []))
    await ownerRequest(`https://storage.googleapis.com/upload/storage/v1/b/${name}/o?uploadType=media&name=raw/1`, {});
  const [, datasetId] = catalogue?.outputs.dataset?.split('.') ?? [];
  if (datasetId) {
    const tableReference = { projectId: accounts.gcp, datasetId, tableId: 'readings' };
    const tables = `https://bigquery.googleapis.com/bigquery/v2/projects/${accounts.gcp}/datasets/${datasetId}/tables`;
    await ownerRequest(tables, { tableReference });
  }
}
