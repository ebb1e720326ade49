/**
 * Ownership of what carries no labels: a line of JSON in the resource's description, which every kind of Compute Engine and
 * each service account has. At most 226 characters for the longest names; a service account takes 256.
 */
import { z } from 'zod';
import type { Owner } from '../../../model/service.ts';

const prefix = 'multi-cloud ';

const Described = z.strictObject({
  estate: z.string(),
  uid: z.string(),
  service: z.string(),
  controller: z.string(),
  generation: z.int().min(1),
});

export function describeOwner({ estate, uid, service, controller, generation }: Owner): string {
  return prefix + JSON.stringify({ estate, uid, service, controller, generation });
}

export function ownerInDescription(description: string | null | undefined): Owner | undefined {
  if (!description?.startsWith(prefix)) return undefined;
  try {
    return Described.safeParse(JSON.parse(description.slice(prefix.length))).data;
  } catch {
    return undefined;
  }
}
