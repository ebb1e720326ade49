/** Compares the versions that a manifest names with what the target keeps: each must be there, in this order, with these bytes. */
import { mergeListings } from '../../model/object-keys.ts';
import type { StoredObject } from '../providers/object-store.ts';
import { headOf, type Pairing } from './copy-object.ts';
import { type History, historiesIn } from './histories.ts';
import type { ManifestLine } from './manifest.ts';
import { type Mark, markOf } from './mark.ts';
import { differs, type Judged, sameBytes, type Verification } from './verify.ts';

type Line = Extract<ManifestLine, { how: 'version' }>;
interface Expected {
  key: string;
  lines: Line[];
}

async function* byKey(lines: AsyncIterable<ManifestLine>): AsyncGenerator<Expected> {
  let expected: Expected | undefined;
  for await (const line of lines) {
    if (line.how !== 'version') continue;
    if (expected && expected.key !== line.key) yield expected;
    if (expected?.key !== line.key) expected = { key: line.key, lines: [] };
    expected.lines.push(line);
  }
  if (expected) yield expected;
}

/** One verdict for each version, in the order of the manifest. */
export async function* versionVerdicts(
  verification: Verification,
  range: { after: string; to: string },
  lines: AsyncIterable<ManifestLine>,
): AsyncGenerator<Judged> {
  const { pairing } = verification;
  const pairs = mergeListings<Expected | History>(byKey(lines), historiesIn(pairing, pairing.target, range));
  for await (const { key, source, target } of pairs) {
    if (!source || !('lines' in source)) continue;
    const kept = target && 'kept' in target ? await copiesIn(pairing, target) : [];
    let next = 0;
    for (const line of source.lines) {
      const at = kept.findIndex(({ mark }, index) => index >= next && mark?.version === line.version);
      const found = kept[at];
      if (found) next = at + 1;
      const known = kept.some(({ mark }) => mark?.version === line.version);
      yield {
        key,
        size: line.size,
        verdict: found
          ? pairing.gate.run(0, () => sameVersion(verification, line, found))
          : Promise.resolve(
              known
                ? differs('stale', `version ${line.version} is not in its place`)
                : differs('missing', `the target keeps no copy of version ${line.version}`),
            ),
      };
    }
  }
}

interface Copy {
  object: StoredObject;
  mark: Mark | undefined;
}

function copiesIn(pairing: Pairing, { kept }: History): Promise<Copy[]> {
  const { source, target, gate } = pairing;
  return Promise.all(
    kept.flatMap(({ object }) =>
      object
        ? gate.run(0, async () => {
            const whole = object.attributes ? object : await headOf(pairing, target, object.key, object.at);
            const mark = whole && markOf(whole);
            return { object: whole ?? object, mark: mark?.from === source.store.id ? mark : undefined };
          })
        : [],
    ),
  );
}

async function sameVersion(verification: Verification, line: Line, { object, mark }: Copy) {
  if (line.size !== object.size)
    return differs('size', `${line.size} bytes at the source, ${object.size} at the target`);
  const { key, size, version, at, crc32, sha256, target } = line;
  const source: StoredObject = { key, size, version, at, modified: '', checksums: {} };
  const ours = crc32 && target ? { crc32, sha256, target } : undefined;
  return sameBytes(verification, { source, there: object, ours, digest: mark?.digest });
}
