/** Objects that go in parts: what each cloud takes, and how large the parts of an object are. */
import type { ProviderType } from './service.ts';

const KiB = 1024;
const MiB = 1024 * KiB;
const GiB = 1024 * MiB;
const TiB = 1024 * GiB;

export interface PartLimits {
  /** Largest object, bytes. */
  object: number;
  parts: number;
  /** Largest part, bytes; sizes of parts are multiples of `quantum`. */
  part: number;
  quantum: number;
}

/** From the vendors' documents. */
export const partLimits: Record<ProviderType, PartLimits> = {
  /**
   * https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html (2026-11-28): 48.8 TiB, which is 10,000 parts of 5 GiB. It was
   * 5 TiB until December 2025.
   */
  aws: { object: 10_000 * 5 * GiB, parts: 10_000, part: 5 * GiB, quantum: MiB },
  /**
   * https://learn.microsoft.com/azure/storage/blobs/scalability-targets (2026-11-27): 50,000 blocks of up to 4,000 MiB, 190.7 TiB.
   */
  azure: { object: 50_000 * 4000 * MiB, parts: 50_000, part: 4000 * MiB, quantum: MiB },
  /**
   * https://cloud.google.com/storage/quotas (2026-11-27): 5 TiB. Chunks of a resumable upload are not counted:
   * https://cloud.google.com/storage/docs/performing-resumable-uploads
   */
  gcp: { object: 5 * TiB, parts: Number.POSITIVE_INFINITY, part: Number.POSITIVE_INFINITY, quantum: 256 * KiB },
};

/** Parts are not smaller than this, but for the last one. */
export const leastPart = 8 * MiB;
/** What flows needs no memory: larger parts cost fewer calls, and a break costs no more than what is sent again of these. */
const mostFlowing = 64 * MiB;
/** As long as so many parts keep the connections busy. */
const enoughParts = 32;

/** How large the parts of an object are: as small as its cloud lets them be, or somewhat larger where they flow. */
export function partSize(
  { parts, quantum }: Pick<PartLimits, 'parts' | 'quantum'>,
  size: number,
  flows: boolean,
): number {
  const wanted = flows ? Math.min(mostFlowing, size / enoughParts) : 0;
  return Math.ceil(Math.max(leastPart, wanted, size / parts) / quantum) * quantum;
}
