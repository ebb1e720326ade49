/** The log of what has lost conflicts: pages of it from a records bucket, and the way back of what one line is about. */
import { ApplicationFailure } from '@temporalio/activity';
import { successor } from '../../model/conflict.ts';
import { ConflictLine, conflictsPrefix } from '../../model/conflict-log.ts';
import {
  type Conflict,
  conflictId,
  conflictsPerPage,
  isId,
  lineOf,
  type ReadConflictsInput,
  type RestoredConflict,
} from '../../model/conflict-view.ts';
import { CloudError } from '../../model/errors.ts';
import type { Placement } from '../../model/service.ts';
import type { Provider } from '../providers/driver.ts';
import { guarded } from '../providers/provision.ts';
import { copyExactly, headOf, type Side } from '../transfer/copy-object.ts';
import { markOf } from '../transfer/mark.ts';
import { changeOf, inMemory, logLoser, pairingOf, type Working } from './losers.ts';
import type { SideStore } from './stores.ts';

const dayMs = 86_400_000;
/** Of longer times all names are listed at once. */
const mostDays = 40;
const readAtOnce = 16;

/** Lines after an ID and in a time, in the order of their IDs, up to a page of them. A bucket that is not there has none. */
export async function conflictsIn(
  provider: Provider,
  bucket: Placement,
  { service, since, until, after = '' }: Pick<ReadConflictsInput, 'since' | 'until' | 'after'> & { service: string },
  signal: AbortSignal,
): Promise<{ conflicts: Conflict[]; more: boolean }> {
  const list = (prefix: string): Promise<string[]> =>
    guarded(provider, 'list', prefix, () => provider.objects.list(bucket, prefix, signal));
  const wanted = (name: string): boolean => {
    if (!isId(service, name)) return false;
    const id = conflictId(service, name);
    const at = Number(/\/(\d+)-/.exec(id)?.[1]);
    return id > after && at >= since && at <= until;
  };
  const names: string[] = [];
  try {
    for (const prefix of prefixes(service, since, until)) {
      names.push(...(await list(prefix)).filter(wanted).sort());
      if (names.length > conflictsPerPage) break;
    }
  } catch (error) {
    if (!(error instanceof CloudError) || error.kind !== 'NotFound') throw error;
  }
  const conflicts: Conflict[] = [];
  const page = names.slice(0, conflictsPerPage);
  for (let at = 0; at < page.length; at += readAtOnce) {
    const lines = page.slice(at, at + readAtOnce).map((name) => readLine(provider, bucket, name, signal));
    for (const [which, line] of (await Promise.all(lines)).entries())
      if (line) conflicts.push(viewOf(conflictId(service, page[at + which] ?? ''), line));
  }
  return { conflicts, more: names.length > page.length };
}

function prefixes(service: string, since: number, until: number): string[] {
  const [first, last] = [Math.floor(since / dayMs), Math.floor(until / dayMs)];
  if (last - first > mostDays) return [conflictsPrefix(service)];
  return Array.from({ length: Math.max(0, last - first + 1) }, (_, at) => {
    const day = new Date((first + at) * dayMs).toISOString().slice(0, 10);
    return `${conflictsPrefix(service)}${day}/`;
  });
}

async function readLine(
  provider: Provider,
  bucket: Placement,
  name: string,
  signal: AbortSignal,
): Promise<ConflictLine | undefined> {
  const found = await guarded(provider, 'read', name, () => provider.objects.get(bucket, name, signal));
  return found && ConflictLine.parse(JSON.parse(Buffer.from(found.bytes).toString()));
}

const viewOf = (id: string, { key, side, change, winner, at, size }: ConflictLine): Conflict => ({
  ...{ id, key, size, sides: [side], loggedAt: at },
  lost: { at: new Date(change.stamp.time).toISOString(), on: change.stamp.origin },
  winner: { at: new Date(winner.stamp.time).toISOString(), on: winner.stamp.origin },
});

/** A records bucket, as a store and as what its small objects are read from. */
export interface RecordsSide extends Side {
  bucket: Placement;
}

export interface WayBack extends Working {
  id: string;
  service: string;
  records: readonly RecordsSide[];
  sides: readonly SideStore[];
  to: string | undefined;
  as: string | undefined;
}

const mostTries = 4;

/**
 * Writes what was logged back as a user would: without a stamp, so that it is captured as a change of its own, after what it
 * replaces, which is logged in its turn. The same asked twice finds it there.
 */
export async function wayBack(back: WayBack): Promise<RestoredConflict> {
  const { id, service, records, sides, to, as, signal } = back;
  for (const bucket of records) {
    const line = await readLine(bucket.provider, bucket.bucket, lineOf(service, id), signal).catch(ifThere);
    if (!line) continue;
    const logged = await headOf(back, bucket, line.object);
    if (!logged) continue;
    const name = to ?? line.side;
    const side = sides.find((one) => one.name === name) ?? (to === undefined ? sides[0] : undefined);
    if (!side)
      throw ApplicationFailure.nonRetryable(
        `to: ${service} is not on ${name}; it is on ${sides.map((one) => one.name).join(', ')}.`,
        'InvalidInput',
      );
    const key = as ?? line.key;
    const pairing = { ...pairingOf(back, bucket, side), as: { key, stamp: undefined } };
    for (let tries = 1; tries <= mostTries; tries++) {
      const there = await headOf(back, side, key);
      const mark = there && markOf(there);
      if (mark?.from === bucket.store.id && mark.version === logged.version)
        return { side: side.name, key, size: logged.size };
      let replaced: string | undefined;
      if (there) {
        const change = await changeOf(side, there);
        const now = Date.now();
        const { change: winner } = successor({ side: side.name, time: now, sequence: '', after: change, now });
        replaced = await logLoser(back, side, { object: there, change, winner });
        if (replaced === undefined) continue;
      }
      const expected = there ? { version: there.version } : { absent: true as const };
      const written = await inMemory(back, logged.size, () => copyExactly(pairing, logged, expected));
      if (written) return { side: side.name, key, size: logged.size, ...(replaced !== undefined && { replaced }) };
    }
    throw ApplicationFailure.nonRetryable(
      `${key} of ${service} on ${side.name} kept changing while it was restored; nothing was replaced. Try again, or restore it under another key.`,
      'PreconditionFailed',
    );
  }
  throw ApplicationFailure.nonRetryable(
    `No records bucket has the conflict ${id} of ${service}. List what they have: npx multi-cloud conflicts ${service}`,
    'NotFound',
  );
}

function ifThere(error: unknown): undefined {
  if (error instanceof CloudError && error.kind === 'NotFound') return undefined;
  throw error;
}
