/** Lifecycle rules of a bucket, and what they mean in days. https://cloud.google.com/storage/docs/lifecycle */
import type { LifecycleRule } from '@google-cloud/storage';
import { z } from 'zod';
import type { Json, JsonObject } from '../../../model/service.ts';

/** In days. `expireDays`: age at which an object is deleted, its versions staying for `noncurrentDays`. */
const Days = z.object({
  noncurrentDays: z.number().optional(),
  abortUploadsDays: z.number().optional(),
  expireDays: z.number().optional(),
});

export function lifecycleRules(lifecycle: Json | undefined): LifecycleRule[] {
  const { noncurrentDays, abortUploadsDays, expireDays } = Days.parse(lifecycle ?? {});
  return [
    ...(noncurrentDays === undefined
      ? []
      : [{ action: { type: 'Delete' as const }, condition: { daysSinceNoncurrentTime: noncurrentDays } }]),
    ...(abortUploadsDays === undefined
      ? []
      : [{ action: { type: 'AbortIncompleteMultipartUpload' as const }, condition: { age: abortUploadsDays } }]),
    ...(expireDays === undefined
      ? []
      : [{ action: { type: 'Delete' as const }, condition: { age: expireDays, isLive: true } }]),
  ];
}

/** Rules that are none of ours are counted: any is a difference from what is desired. */
export function lifecycleOf(rules: readonly LifecycleRule[]): JsonObject {
  const days: JsonObject = {};
  let others = 0;
  for (const { action, condition } of rules) {
    const conditions = Object.keys(condition).sort().join();
    const { age, daysSinceNoncurrentTime } = condition;
    if (action.type === 'Delete' && conditions === 'daysSinceNoncurrentTime')
      days.noncurrentDays = Number(daysSinceNoncurrentTime);
    else if (action.type === 'AbortIncompleteMultipartUpload' && conditions === 'age')
      days.abortUploadsDays = Number(age);
    else if (action.type === 'Delete' && conditions === 'age,isLive' && condition.isLive) days.expireDays = Number(age);
    else others++;
  }
  return others > 0 ? { ...days, otherRules: others } : days;
}
