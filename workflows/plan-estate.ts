/** `planEstate`: what `deployEstate` would do. Looks only; takes no lock. */
import * as wf from '@temporalio/workflow';
import { type EstatePlan, PlanEstateInput } from '../model/operations.ts';
import { control, failure } from './calls.ts';
import { planServices } from './planning.ts';
import { Board } from './progress.ts';
import { searchAttributes } from './search-attributes.ts';

export async function planEstate(raw: unknown): Promise<EstatePlan> {
  const board = new Board();
  const parsed = PlanEstateInput.safeParse(raw ?? {});
  if (!parsed.success)
    throw failure(
      'InvalidInput',
      parsed.error.issues.map(({ path, message }) => `${path.join('.') || 'input'}: ${message}`).join('; '),
    );
  const loaded = await board.step('load', () =>
    control.loadEstate({ estate: parsed.data.estate, file: parsed.data.file, others: parsed.data.others }),
  );
  wf.upsertSearchAttributes([{ key: searchAttributes.estate, value: loaded.estate.name }]);
  const { plan } = await board.step('plan', () => planServices(loaded, parsed.data.by));
  return plan;
}
