/** An IAM user with policies of its own, made by the account's root user. */
import {
  AttachUserPolicyCommand,
  CreateAccessKeyCommand,
  CreatePolicyCommand,
  CreateUserCommand,
  IAMClient,
} from '@aws-sdk/client-iam';
import type { Policy } from '../../emulators/gateway/callers.ts';
import { holdCaller } from '../local/stack.ts';

/** `undefined`: may do everything. */
export async function limitedAws(name: string, policies: readonly unknown[] | undefined) {
  const iam = new IAMClient({ region: 'us-east-1' });
  const UserName = `limited-${name}`;
  await iam.send(new CreateUserCommand({ UserName }));
  for (const [at, policy] of (policies ?? []).entries()) {
    const command = new CreatePolicyCommand({
      PolicyName: `${UserName}-${at}`,
      PolicyDocument: JSON.stringify(policy),
    });
    const { Policy } = await iam.send(command);
    await iam.send(new AttachUserPolicyCommand({ UserName, PolicyArn: Policy?.Arn ?? '' }));
  }
  const { AccessKey } = await iam.send(new CreateAccessKeyCommand({ UserName }));
  const { AccessKeyId = '', SecretAccessKey = '' } = AccessKey ?? {};
  if (policies) await holdCaller(AccessKeyId, policies as Policy[]);
  iam.destroy();
  return { caller: AccessKeyId, credentials: { access_key_id: AccessKeyId, secret_access_key: SecretAccessKey } };
}
