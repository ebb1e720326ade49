/** The authority of a fleet whose certificates let devices in that nobody has registered yet: what factories sign with. */
import { z } from 'zod';
import type { RecordedResource } from './record.ts';
import type { Configuration, ProviderType, ResourceSpec } from './service.ts';
import { sha256Hex } from './sha256.ts';

/** One certificate and nothing else: a key beside it would be written into records. */
const onePem = /^-----BEGIN CERTIFICATE-----\r?\n[A-Za-z0-9+/=\r\n]+-----END CERTIFICATE-----\s*$/;

export const JustInTimeAuthority = z
  .string()
  .max(8192)
  .regex(onePem)
  .describe('one certificate of an authority in PEM, whose devices are registered when they first connect');

/** PEM of the authority that lets newborns in at a placement. */
export function justInTimeAuthority({ just_in_time_authority: pem }: Configuration): string | undefined {
  return typeof pem === 'string' ? pem : undefined;
}

/** Keys of the resources that let newborns in begin with this. */
export const justInTimeKey = 'just-in-time';

/** What still lets devices of an authority in that the design does not have any more: a door that is to be shut. */
export const shutDoors = (before: readonly RecordedResource[], specs: readonly ResourceSpec[]): RecordedResource[] =>
  before.filter(({ key }) => key.startsWith(justInTimeKey) && !specs.some((spec) => spec.key === key));

/** Tells resources for one authority from those for another, which then are others and not changed ones. */
export const authorityMark = (pem: string): string => sha256Hex(pem.replaceAll(/\s/g, '')).slice(0, 8);

/** Why a cloud cannot let newborns in, where it is asked to. */
export function justInTimeRefusal(provider: ProviderType, configuration: Configuration): string | undefined {
  if (provider !== 'azure' || justInTimeAuthority(configuration) === undefined) return undefined;
  return 'just_in_time_authority needs a Device Provisioning Service there, which is not made yet: leave it out, or the service on other clouds';
}
