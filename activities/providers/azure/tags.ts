/** Tags and locations in the shapes that ARM has. */
import { fromTags, isSought, ownerTags } from '../../../model/names.ts';
import type { JsonObject, Owner, Placement } from '../../../model/service.ts';

type Tags = Readonly<Record<string, string | undefined>> | undefined;

export const ownerOf = (tags: Tags): Owner | undefined => fromTags(tags);

/** The property `tags` of `desired`: ours alone; what others add beside them is theirs. */
export const tagsOf = (tags: Tags): JsonObject =>
  Object.fromEntries(
    Object.values(ownerTags).flatMap((key) => {
      const value = tags?.[key];
      return value === undefined ? [] : [[key, value]];
    }),
  );

/** The owner named by the tags, if the listing of this placement looks for it. */
export function ours(tags: Tags, placement: Placement): Owner | undefined {
  const owner = fromTags(tags);
  return isSought(owner, placement.owner) ? owner : undefined;
}

/** ARM answers some types with a region's display name: `West US 2` is `westus2`. */
export const region = (location: string | undefined): string => (location ?? '').replaceAll(' ', '').toLowerCase();
