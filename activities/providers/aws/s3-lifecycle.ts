/** Lifecycle rules of a bucket, between S3's documents and the few numbers that we decide. */
import type { LifecycleRule } from '@aws-sdk/client-s3';
import { z } from 'zod';
import type { Json } from '../../../model/service.ts';

const Lifecycle = z.object({
  noncurrentDays: z.number(),
  abortUploadsDays: z.number(),
  expireDays: z.number().optional(),
});

/** Written as two rules, since S3 knows neither "no expiry" nor zero days. */
export function lifecycleRules(desired: Json | undefined): LifecycleRule[] {
  const { noncurrentDays, abortUploadsDays, expireDays } = Lifecycle.parse(desired);
  const all = { Filter: { Prefix: '' }, Status: 'Enabled' as const };
  return [
    {
      ID: 'history',
      ...all,
      NoncurrentVersionExpiration: { NoncurrentDays: noncurrentDays },
      AbortIncompleteMultipartUpload: { DaysAfterInitiation: abortUploadsDays },
    },
    ...(expireDays ? [{ ID: 'retention', ...all, Expiration: { Days: expireDays } }] : []),
  ];
}

/** The numbers in the enabled rules of a bucket; what others added (transitions, prefixes) is listed by ID, so that it shows as drift. */
export function lifecycleOf(rules: readonly LifecycleRule[] | undefined): { [key: string]: Json } {
  const enabled = (rules ?? []).filter(({ Status }) => Status === 'Enabled');
  const history = enabled.find(({ ID }) => ID === 'history');
  const expireDays = enabled.find(({ ID }) => ID === 'retention')?.Expiration?.Days;
  const others = enabled.flatMap(({ ID }) => (ID === 'history' || ID === 'retention' ? [] : [ID ?? 'unnamed'])).sort();
  return {
    noncurrentDays: history?.NoncurrentVersionExpiration?.NoncurrentDays ?? 0,
    abortUploadsDays: history?.AbortIncompleteMultipartUpload?.DaysAfterInitiation ?? 0,
    ...(expireDays ? { expireDays } : {}),
    ...(others.length > 0 ? { others } : {}),
  };
}
