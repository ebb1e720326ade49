/** The objects of one side in a range of keys, page after page; the next page is asked for while one is worked through. */
import { isBeyond } from '../../model/object-keys.ts';
import type { ObjectStore, Page, StoredObject } from '../providers/object-store.ts';
import { type Asked, ask, type Pairing } from './copy-object.ts';

/** What a listing needs of a side. */
export interface Listed extends Asked {
  store: Pick<ObjectStore, 'id' | 'page'>;
}

export async function* objectsIn(
  pairing: Pick<Pairing, 'gate' | 'signal'>,
  side: Listed,
  range: { after: string; to: string },
): AsyncGenerator<StoredObject> {
  const { after, to } = range;
  const get = (token?: string): Promise<Page> => {
    const page = ask(pairing, side, 'list', side.store.id, () => side.store.page({ after, token }, pairing.signal));
    page.catch(() => {}); // thrown when its turn comes
    return page;
  };
  for (let next: Promise<Page> | undefined = get(); next; ) {
    const page: Page = await next;
    next = page.next === undefined ? undefined : get(page.next);
    for (const object of page.objects) {
      if (isBeyond(object.key, to)) return;
      yield object;
    }
  }
}
