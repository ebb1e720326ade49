/** `checkConflicts`: a page of what has lost conflicts, from the records buckets of all places of a service. Looks only. */
import * as wf from '@temporalio/workflow';
import { CheckConflictsInput, type Conflict, type ConflictPage, conflictsPerPage } from '../model/conflict-view.ts';
import { applicationFailure, control, failure, watch } from './calls.ts';
import { Board, reason } from './progress.ts';
import { searchAttributes } from './search-attributes.ts';

const weekMs = 7 * 86_400_000;

export async function checkConflicts(raw: unknown): Promise<ConflictPage> {
  const board = new Board();
  const parsed = CheckConflictsInput.safeParse(raw ?? {});
  if (!parsed.success)
    throw failure(
      'InvalidInput',
      parsed.error.issues.map(({ path, message }) => `${path.join('.') || 'input'}: ${message}`).join('; '),
    );
  const { service, since, after } = parsed.data;
  const { estate } = await control.loadEstate({ estate: parsed.data.estate });
  wf.upsertSearchAttributes([
    { key: searchAttributes.estate, value: estate.name },
    { key: searchAttributes.serviceName, value: service },
  ]);
  const owner = {
    ...{ estate: estate.name, service, generation: 1 },
    ...(await control.openEstate({ estate: estate.name })),
  };
  const { [service]: record } = await control.readServices({ estate: estate.name });
  if (!record) throw failure('ServiceNotFound', `The estate ${estate.name} has no record of a service ${service}.`);
  // A stamp may be ahead of the clock of whoever looks.
  const until = Date.now() + 3_600_000;
  const which = {
    since: since === undefined ? Date.now() - weekMs : Date.parse(since),
    until,
    ...(after && { after }),
  };
  const problems: ConflictPage['problems'] = [];
  const pages = await board.step('conflicts', () =>
    Promise.all(
      record.places.map(async (place) => {
        try {
          return await watch(`conflicts on ${place.provider}`).readConflicts({ owner, place, ...which });
        } catch (error) {
          if (!applicationFailure(error)) throw error;
          problems.push({ bucket: `${place.provider} in ${place.region}`, problem: reason(error) });
          return { conflicts: [], more: false };
        }
      }),
    ),
  );

  const byId = new Map<string, Conflict>();
  for (const one of pages.flatMap(({ conflicts }) => conflicts)) {
    const known = byId.get(one.id);
    byId.set(one.id, known ? { ...known, sides: [...known.sides, ...one.sides].sort() } : one);
  }
  const all = [...byId.values()].sort((a, b) => (a.id < b.id ? -1 : 1));
  const conflicts = all.slice(0, conflictsPerPage);
  const more = all.length > conflicts.length || pages.some((page) => page.more);
  return { service, conflicts, problems, ...(more && { next: conflicts.at(-1)?.id }) };
}
