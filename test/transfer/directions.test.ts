/** Objects go from each cloud to each other, with all that belongs to them; strange names arrive or are reported. */
import { fromLines } from '../../activities/transfer/files.ts';
import type { CopiedObjects } from '../../model/transfer.ts';
import { contents, fill, pairs, placed, recordsUnder, run, storeOf } from './stores.ts';

const strange = [
  'plain.bin',
  'caf\u00e9',
  'cafe\u0301',
  'Case',
  'case',
  'a//b',
  'a/',
  '/leading',
  'with space+plus%percent%2Ftwice',
  'query?and#hash&amp;<xml>"quoted"\'',
  '日本語/😀',
  '\ufffd\uff01 after the emoji in UTF-16, before it in UTF-8',
  'tab\tand\u0001control',
  'x'.repeat(1024),
  'dots/./here',
  'dots/../there',
  'trailing.',
  '!()*~',
];

it.each(pairs)('from %s to %s everything arrives, or is named with the reason', async (from, to) => {
  const [source, target] = await Promise.all([placed(from), placed(to)]);
  const [here, there] = await Promise.all([storeOf(source), storeOf(target)]);
  const put: string[] = [];
  for (const key of strange)
    if (!here.refusal({ key, size: 1 })) {
      await fill(here, key, Buffer.from(`bytes of ${key}`));
      put.push(key);
    }
  await fill(here, 'empty', Buffer.alloc(0));
  put.push('empty');
  const transfer = { source, target, transfer: 'directions' };

  const planned = await run('planTransfer', { ...transfer, shardObjects: 7 });
  expect(planned.objects).toBe(put.length);
  expect(planned.shards).toBe(Math.ceil(put.length / 7));
  const refused = put.filter((key) => there.refusal({ key, size: 1 }));
  expect(planned.refused).toEqual(refused.length > 0 ? { key: refused.length } : {});
  const named = [...(await recordsUnder(target, planned.refusedFiles || 'none')).values()].flatMap(fromLines);
  expect(named).toEqual(
    refused
      .sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)))
      .map((key) => expect.objectContaining({ key, reason: 'key' })),
  );

  const copied: CopiedObjects[] = [];
  for (let shard = 0; shard < planned.shards; shard++) copied.push(await run('copyShard', { ...transfer, shard }));
  const sum = (of: (one: CopiedObjects) => number) => copied.reduce((total, one) => total + of(one), 0);
  expect(sum(({ failed }) => failed)).toBe(refused.length);
  expect(sum((one) => one.copied.objects)).toBe(put.length - refused.length);

  const [before, after] = await Promise.all([contents(here), contents(there)]);
  for (const key of refused) before.delete(key);
  expect(after).toEqual(before);

  const verified = await run('verifyTransfer', { ...transfer, what: { kind: 'everything' } });
  expect(verified.different).toEqual(refused.length > 0 ? { missing: refused.length } : {});
  expect(verified.same).toBe(put.length - refused.length);
});
