/** A plan made on this machine alone: candidates, scores and costs; no records, no resource changes. */
import type { Estate } from '../../model/estate.ts';
import type { EstatePlan } from '../../model/operations.ts';
import type { ServicePlacement } from '../../model/placement.ts';
import { planHash } from '../../model/plan-hash.ts';
import { planView } from '../../model/plan-view.ts';
import type { Sheets } from '../../model/sheets.ts';

export function offlinePlan(estate: Estate, placed: readonly ServicePlacement[], sheets: Sheets): EstatePlan {
  const plan = planView(estate, placed, { sheets, gone: [], reverts: [], warnings: [] });
  return { ...plan, hash: planHash(plan) };
}
