/** `verifyAudit`: reads the trail of a run from every records bucket of the estate, and judges its chain. Looks only. */
import * as wf from '@temporalio/workflow';
import { verifyChain } from '../model/audit.ts';
import { type AuditVerdict, VerifyAuditInput } from '../model/operations.ts';
import { recordsPlacement } from '../model/records.ts';
import { applicationFailure, cloud, control, failure } from './calls.ts';
import { Board, reason } from './progress.ts';
import { searchAttributes } from './search-attributes.ts';

export async function verifyAudit(raw: unknown): Promise<AuditVerdict> {
  const board = new Board();
  const parsed = VerifyAuditInput.safeParse(raw ?? {});
  if (!parsed.success)
    throw failure(
      'InvalidInput',
      parsed.error.issues.map(({ path, message }) => `${path.join('.') || 'input'}: ${message}`).join('; '),
    );
  const { workflowId, runId } = parsed.data;
  const { estate } = await control.loadEstate({ estate: parsed.data.estate });
  wf.upsertSearchAttributes([{ key: searchAttributes.estate, value: estate.name }]);
  const identity = { estate: estate.name, ...(await control.openEstate({ estate: estate.name })) };
  const records = Object.values(await control.readServices({ estate: estate.name }));
  const places = new Map(
    records.flatMap((record) => record.places.map((place) => [`${place.provider} in ${place.region}`, place] as const)),
  );
  const buckets = await board.step('trails', () =>
    Promise.all(
      [...places].map(async ([bucket, place]) => {
        const placement = recordsPlacement(identity, place);
        try {
          const lines = await cloud(place.provider, `trail of ${workflowId}`).readAudit({
            placement,
            workflowId,
            runId,
          });
          return { bucket, ...verifyChain(lines) };
        } catch (error) {
          if (!applicationFailure(error)) throw error;
          return { bucket, lines: 0, complete: false, problem: reason(error) };
        }
      }),
    ),
  );
  return { workflowId, runId, buckets };
}
