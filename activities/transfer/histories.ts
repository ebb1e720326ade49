/** What one side keeps under each key of a range, oldest first. All of one key is in memory at once. */
import { isBeyond } from '../../model/object-keys.ts';
import type { StoredVersion, VersionPage } from '../providers/object-store.ts';
import { ask, type End, type Pairing } from './copy-object.ts';

export interface History {
  key: string;
  kept: StoredVersion[];
}

export async function* historiesIn(
  pairing: Pick<Pairing, 'gate' | 'signal'>,
  side: End,
  { after, to }: { after: string; to: string },
): AsyncGenerator<History> {
  const { store } = side;
  const get = (token?: string): Promise<VersionPage> => {
    const page = ask(pairing, side, 'list versions', store.id, () => store.versions({ after, token }, pairing.signal));
    page.catch(() => {}); // thrown when its turn comes
    return page;
  };
  const oldestFirst = ({ key, kept }: History): History => ({
    key,
    kept: store.listsNewestFirst ? kept.toReversed() : kept,
  });
  let history: History | undefined;
  for (let next: Promise<VersionPage> | undefined = get(); next; ) {
    const page: VersionPage = await next;
    next = page.next === undefined ? undefined : get(page.next);
    for (const version of page.versions) {
      if (history?.key !== version.key) {
        if (history) yield oldestFirst(history);
        history = undefined;
        if (isBeyond(version.key, to)) return;
        history = { key: version.key, kept: [] };
      }
      history.kept.push(version);
    }
  }
  if (history) yield oldestFirst(history);
}
