/** What all resource types have in common in a request: the fields around `properties`, and its conditions. */
import { z } from 'zod';
import { Refusal } from './accept.ts';
import type { Stored } from './kind.ts';

export interface Conditions {
  ifMatch?: string | undefined;
  ifNoneMatch?: string | undefined;
}

const Tags = z.record(z.string().min(1).max(512), z.string().max(256)).refine((tags) => Object.keys(tags).length <= 50);
/** What stands around `properties` in every body. */
export const Envelope = z.strictObject({
  id: z.string().optional(),
  name: z.string().optional(),
  type: z.string().optional(),
  etag: z.string().optional(),
  location: z.string().min(1).optional(),
  tags: Tags.nullish(),
  sku: z.json().optional(),
  identity: z.json().optional(),
  kind: z.string().optional(),
  zones: z.array(z.string()).optional(),
  systemData: z.json().optional(),
  managedBy: z.string().optional(),
  properties: z.json().optional(),
});

/** A location in any spelling. */
export const place = (location: unknown): string => String(location).replaceAll(' ', '').toLowerCase();
const bare = (etag: string): string => etag.replace(/^W\//, '').replaceAll('"', '');

export function checkConditions(
  before: Stored | undefined,
  { ifMatch, ifNoneMatch }: Conditions,
  needed: boolean,
): void {
  if (ifNoneMatch === '*' && before) throw new Refusal(412, 'PreconditionFailed', 'The resource exists.');
  if (needed && before && !ifMatch)
    throw new Refusal(412, 'PreconditionFailed', 'The If-Match header is required to change an existing resource.');
  if (!ifMatch) return;
  if (!before || (ifMatch !== '*' && bare(ifMatch) !== bare(before.etag ?? '')))
    throw new Refusal(412, 'PreconditionFailed', 'The condition of the If-Match header is not met.');
}
