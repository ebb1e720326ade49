/** Who calls, what each caller has needed so far, and what callers of AWS are held to. */
import type { IncomingHttpHeaders } from 'node:http';
import { z } from 'zod';
import type { Call } from './calls.ts';
import { awsResource, covers, wildcard } from './resources-aws.ts';
import { rightsOf } from './rights.ts';

/** An IAM policy, as far as the gateway judges it: what is allowed on which resources. */
export const Policy = z.object({
  Statement: z.array(
    z.object({ Effect: z.literal('Allow'), Action: z.array(z.string()), Resource: z.array(z.string()) }),
  ),
});
export type Policy = z.infer<typeof Policy>;

const Claims = z.object({ appid: z.string(), iss: z.string(), email: z.string() }).partial();

function claimsOf(part: string): z.infer<typeof Claims> {
  try {
    return Claims.parse(JSON.parse(Buffer.from(part, 'base64url').toString('utf8')));
  } catch {
    return {};
  }
}

/**
 * Access key of AWS, application of Azure, service account of Google Cloud; undefined for who shows none of these. It is
 * what the caller says: whether it is true is for the cloud to check.
 */
export function callerOf({ authorization = '' }: IncomingHttpHeaders): string | undefined {
  const key = /Credential=([^/,\s]+)\//.exec(authorization)?.[1];
  if (key) return key;
  const [, first = '', second = ''] = /^Bearer ([\w-]+)\.([\w-]+)/i.exec(authorization) ?? [];
  // Google's tokens are `ya29.<content>`; a JWT has a header before it.
  const { appid, email, iss } = claimsOf(second);
  return appid ?? email ?? (first ? iss : undefined);
}

export class Callers {
  readonly #used = new Map<string, Set<string>>();
  readonly #held = new Map<string, readonly Policy[]>();

  /** From now on the access key may do what these policies say and no more; undefined: all, as before. */
  hold(accessKey: string, policies: readonly Policy[] | undefined): void {
    if (policies) this.#held.set(accessKey, policies);
    else this.#held.delete(accessKey);
  }

  /** Rights that the caller's calls have needed, sorted. */
  used(caller: string): string[] {
    return [...(this.#used.get(caller) ?? [])].sort();
  }

  /** Whether the caller is held to policies, so that what it sends has to be looked into. */
  holds({ caller }: Call): boolean {
    return caller !== undefined && this.#held.has(caller);
  }

  /** The first right that the caller of a call has not for what the call is about, if any. */
  missing(call: Call, body: string): string | undefined {
    const policies = call.caller === undefined ? undefined : this.#held.get(call.caller);
    if (!policies) return undefined;
    const allows = (right: string): boolean => {
      const resource = awsResource(right.slice(0, right.indexOf(':')), call, body);
      return policies.some(({ Statement }) =>
        Statement.some(
          ({ Action, Resource }) =>
            Action.some((action) => wildcard(action).test(right)) &&
            (resource === undefined || Resource.some((one) => covers(one, resource))),
        ),
      );
    };
    return rightsOf(call).find((right) => !allows(right));
  }

  /** Notes what an answered call has needed; one that the cloud has refused was not carried out. */
  note(call: Call): void {
    const { caller, status } = call;
    if (caller === undefined || status === 401 || status === 403) return;
    const used = this.#used.get(caller) ?? new Set();
    this.#used.set(caller, used);
    for (const right of rightsOf(call)) used.add(right);
  }
}
