/** Who calls, what each caller has needed so far, and what callers of AWS are held to. */
import type { IncomingHttpHeaders } from 'node:http';
import { z } from 'zod';
import type { Call } from './calls.ts';
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

const matches = (pattern: string, text: string): boolean =>
  new RegExp(
    `^${pattern
      .replace(/[.\\+^${}()|[\]]/g, '\\$&')
      .replaceAll('*', '.*')
      .replaceAll('?', '.')}$`,
  ).test(text);

/** The bucket or object that a call to S3 is about; others name their resources in bodies. */
function resourceOf({ host, path }: Call): string | undefined {
  const bucket = /^(.+)\.s3[.-]/.exec(host)?.[1];
  return bucket === undefined ? undefined : `arn:aws:s3:::${bucket}${path === '/' ? '' : path}`;
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

  /** The first right that the caller of a call has not, if any. */
  missing(call: Call): string | undefined {
    const policies = call.caller === undefined ? undefined : this.#held.get(call.caller);
    if (!policies) return undefined;
    const resource = resourceOf(call);
    const allows = (right: string): boolean =>
      policies.some(({ Statement }) =>
        Statement.some(
          ({ Action, Resource }) =>
            Action.some((action) => matches(action, right)) &&
            (resource === undefined || !right.startsWith('s3:') || Resource.some((one) => matches(one, resource))),
        ),
      );
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
