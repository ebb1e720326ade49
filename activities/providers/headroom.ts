/** What is the same on every cloud when quotas are read: one that cannot be read is unknown, and fails nothing. */
import type { Draw, Headroom, Quota } from '../../model/quota.ts';
import type { Placement, ResourceSpec } from '../../model/service.ts';
import type { Classified, Observed } from './driver.ts';

/** What is to be brought about, and what of it is there. */
export interface Wanted {
  placement: Placement;
  specs: readonly ResourceSpec[];
  /** By resource key. */
  observed: Readonly<Record<string, Observed>>;
}

/** One look at a cloud that tells of some quotas. */
export interface Look {
  /** What is unknown without it: `L-1216C47A of us-west-2`. */
  of: string;
  read(): Promise<Headroom>;
}

export const nameOf = ({ name, where }: Pick<Draw, 'name' | 'where'>): string => `${name} of ${where}`;

/** Those of the draws that take anything, with what was found of each. */
export function matched(
  draws: readonly Draw[],
  find: (draw: Draw) => Pick<Quota, 'limit' | 'used'> | undefined,
): Headroom {
  const headroom: Headroom = { quotas: [], unknown: [] };
  for (const draw of draws) {
    const found = find(draw);
    if (found) headroom.quotas.push({ ...draw, ...found });
    else headroom.unknown.push(`${nameOf(draw)}: the cloud does not tell it`);
  }
  return headroom;
}

export async function headroomOf(looks: readonly Look[], classify: (error: unknown) => Classified): Promise<Headroom> {
  const all = await Promise.all(
    looks.map(async ({ of, read }): Promise<Headroom> => {
      try {
        return await read();
      } catch (error) {
        const { kind, missing } = classify(error);
        // Keys that are read again may be the right ones.
        if (kind === 'Unauthenticated') throw error;
        return { quotas: [], unknown: [`${of}: ${kind}${missing ? `, missing ${missing}` : ''}`] };
      }
    }),
  );
  return { quotas: all.flatMap(({ quotas }) => quotas), unknown: all.flatMap(({ unknown }) => unknown) };
}
