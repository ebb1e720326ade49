import { randomBytes } from 'node:crypto';
import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { defaultPayloadConverter } from '@temporalio/common';
import fc from 'fast-check';
import { AesGcmCodec, readCodecKeys } from '../../temporal/codec.ts';

const key = (): string => randomBytes(32).toString('base64');
const keys = { current: 'new', keys: { old: key(), new: key() } };
const payload = (value: unknown) => defaultPayloadConverter.toPayload(value);

describe('the payload codec', () => {
  const codec = new AesGcmCodec(keys);

  it('gives back what it was given, and shows nothing of it', async () => {
    await fc.assert(
      fc.asyncProperty(fc.jsonValue(), async (value) => {
        const given = payload({ value, mark: 'recognisable' });
        const [sealed] = await codec.encode([given]);
        expect(JSON.stringify(sealed)).not.toContain('recognisable');
        expect(Buffer.from(sealed?.data ?? []).toString('latin1')).not.toContain('recognisable');
        const [open] = await codec.decode(sealed ? [sealed] : []);
        // As the converter alone gives it back: JSON has no -0.
        expect(open && defaultPayloadConverter.fromPayload(open)).toEqual(defaultPayloadConverter.fromPayload(given));
      }),
      { numRuns: 100 },
    );
  });

  it('never seals the same twice alike, and opens nothing that was changed', async () => {
    const [one, two] = await codec.encode([payload('same'), payload('same')]);
    if (!one || !two) throw new Error('nothing encoded');
    expect(Buffer.compare(Buffer.from(one.data ?? []), Buffer.from(two.data ?? []))).not.toBe(0);
    for (let at = 0; at < (one.data?.length ?? 0); at++) {
      const data = Buffer.from(one.data ?? []);
      data.writeUInt8(data.readUInt8(at) ^ 1, at);
      await expect(codec.decode([{ ...one, data }])).rejects.toThrow();
    }
  });

  it('opens what an earlier key has sealed, passes on what was never sealed, and says which key it lacks', async () => {
    const [old] = await new AesGcmCodec({ ...keys, current: 'old' }).encode([payload(1)]);
    const plain = payload('plain');
    const [opened, passed] = await codec.decode(old ? [old, plain] : []);
    expect(opened && defaultPayloadConverter.fromPayload(opened)).toBe(1);
    expect(passed).toBe(plain);
    const forgetful = new AesGcmCodec({ current: 'new', keys: { new: keys.keys.new } });
    await expect(forgetful.decode(old ? [old] : [])).rejects.toThrow('no key "old"');
  });

  it.each([
    ['a current key that is not there', { ...keys, current: 'none' }, 'current'],
    ['a short key', { current: 'a', keys: { a: 'c2hvcnQ=' } }, 'keys.a'],
    ['no keys', { current: 'a' }, 'keys'],
  ])('refuses a key file with %s, and does not repeat it', (_, content, field) => {
    const file = join(mkdtempSync(join(tmpdir(), 'keys-')), 'keys.json');
    writeFileSync(file, JSON.stringify(content));
    expect(() => readCodecKeys(file)).toThrow(field);
    expect(() => readCodecKeys(file)).not.toThrow('c2hvcnQ');
  });
});
