/**
 * What the quotas of a local cloud allow: as somebody has set it, else as an account that has grown. Set in a file of the
 * cloud's state, which is read each time that a limit is asked for, so that a raised quota holds at once.
 */
import { existsSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';

/** Limits by the quota's own name; with `@<region>` behind it, of that region alone. */
const Limits = z.record(z.string(), z.number().min(0));
type Limits = z.infer<typeof Limits>;

export const QuotaChange = z.strictObject({
  cloud: z.string(),
  /** `L-F678F1CE`, `cores`, `NETWORKS`. */
  name: z.string().min(1),
  /** Left out: everywhere. */
  region: z.string().optional(),
  /** `null`: as it was. */
  limit: z.number().min(0).nullable(),
});
export type QuotaChange = z.infer<typeof QuotaChange>;

/** `state`: folder of that cloud. */
export const quotaFile = (state: string): string => join(state, 'quotas.json');

export function limitsIn(state: string): Limits {
  const file = quotaFile(state);
  return existsSync(file) ? Limits.parse(JSON.parse(readFileSync(file, 'utf8'))) : {};
}

export function setLimit(state: string, { name, region, limit }: QuotaChange): Limits {
  const { [region ? `${name}@${region}` : name]: _, ...others } = limitsIn(state);
  const limits = limit === null ? others : { ...others, [region ? `${name}@${region}` : name]: limit };
  const file = quotaFile(state);
  writeFileSync(`${file}.new`, JSON.stringify(limits));
  renameSync(`${file}.new`, file);
  return limits;
}

/** How much a quota allows in a region; an empty one stands for the whole account. */
export function limitOf(state: string, name: string, region: string, grown: number): number {
  const limits = limitsIn(state);
  return limits[`${name}@${region}`] ?? limits[name] ?? grown;
}
