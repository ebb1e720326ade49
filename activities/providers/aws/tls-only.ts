/** The statement of a resource policy that denies everybody every request that does not come over TLS. */
import { z } from 'zod';

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
      [Action].flat().some((action) => /^(s3|sqs):\*$/i.test(action ?? '')) &&
      String(Condition?.Bool?.['aws:SecureTransport']) === 'false',
  );
}

/** The policy with that statement in it; statements of others stay. */
export function withTlsOnly(service: 's3' | 'sqs', resources: readonly string[], text?: string | undefined): string {
  const policy = parse(text);
  const others = (policy?.Statement ?? []).filter(({ Sid }) => Sid !== sid);
  const statement = {
    Sid: sid,
    Effect: 'Deny',
    Principal: '*',
    Action: `${service}:*`,
    Resource: resources,
    Condition: { Bool: { 'aws:SecureTransport': 'false' } },
  };
  return JSON.stringify({ Version: '2012-10-17', ...policy, Statement: [statement, ...others] });
}
