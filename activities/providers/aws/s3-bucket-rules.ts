/** Lifecycle rules and the TLS-only policy of a bucket, between S3's documents and the few numbers that we decide. */
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

const Statement = z.looseObject({
  Sid: z.string().optional(),
  Effect: z.string(),
  Principal: z.unknown().optional(),
  Action: z.union([z.string(), z.array(z.string())]).optional(),
  Condition: z.record(z.string(), z.record(z.string(), z.unknown())).optional(),
});
const Policy = z.looseObject({
  Version: z.string().default('2012-10-17'),
  Statement: z.union([z.array(Statement), Statement.transform((one) => [one])]),
});

const sid = 'TlsOnly';
const parse = (text: string | undefined): z.infer<typeof Policy> | undefined =>
  text ? Policy.parse(JSON.parse(text)) : undefined;

/** True where a policy denies everybody every request that does not come over TLS. */
export function isTlsOnly(text: string | undefined): boolean {
  return (parse(text)?.Statement ?? []).some(
    ({ Effect, Principal, Action, Condition }) =>
      Effect === 'Deny' &&
      (Principal === '*' || JSON.stringify(Principal) === '{"AWS":"*"}') &&
      [Action].flat().some((action) => action === 's3:*' || action === 'sqs:*' || action === 'SQS:*') &&
      String(Condition?.Bool?.['aws:SecureTransport']) === 'false',
  );
}

/** The policy with our one statement in it; statements of others stay. */
export function withTlsOnly(bucket: string, text: string | undefined): string {
  const policy = parse(text);
  const others = (policy?.Statement ?? []).filter(({ Sid }) => Sid !== sid);
  return JSON.stringify({ Version: '2012-10-17', ...policy, Statement: [tlsOnlyStatement(bucket), ...others] });
}

const tlsOnlyStatement = (bucket: string) => ({
  Sid: sid,
  Effect: 'Deny',
  Principal: '*',
  Action: 's3:*',
  Resource: [`arn:aws:s3:::${bucket}`, `arn:aws:s3:::${bucket}/*`],
  Condition: { Bool: { 'aws:SecureTransport': 'false' } },
});
