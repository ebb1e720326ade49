/** Hostile and broken input at the pure boundaries: nothing crashes, every refusal says what and where, nothing planted comes back. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { Command, Decision, NamedDecision } from '../../model/decisions.ts';
import { parseEstateFile } from '../../model/estate-file.ts';
import { YieldRequest } from '../../model/lock.ts';
import {
  CheckEstateInput,
  DeployEstateInput,
  DeployServiceInput,
  PlanEstateInput,
  RecoverServiceInput,
  RemoveServiceInput,
  SteerServiceInput,
} from '../../model/operations.ts';
import { RecordChange, ServiceRecord } from '../../model/record.ts';
import { markdown, printable } from '../../model/text.ts';
import { json, nasties, object, planted } from './nasties.ts';

const sample = readFileSync(join(import.meta.dirname, '../../config/multi-cloud.yaml'), 'utf8');
const lines = sample.split('\n');

/** The sample with some lines dropped, doubled, moved in or out, or with another value. */
const mutated = fc
  .array(
    fc.record({
      at: fc.nat({ max: lines.length - 1 }),
      how: fc.constantFrom('drop', 'double', 'indent', 'value', 'key', 'raw'),
      text: fc.oneof(fc.constantFrom(...nasties), fc.string({ maxLength: 20 })),
    }),
    { minLength: 1, maxLength: 4 },
  )
  .map((changes) => {
    const changed = [...lines];
    for (const { at, how, text } of changes) {
      const line = changed[at] ?? '';
      const colon = line.indexOf(':');
      if (how === 'drop') changed[at] = '';
      else if (how === 'double') changed[at] = `${line}\n${line}`;
      else if (how === 'indent') changed[at] = `  ${line}`;
      else if (how === 'value' && colon > 0) changed[at] = `${line.slice(0, colon)}: ${JSON.stringify(text)}`;
      else if (how === 'key' && colon > 0) changed[at] = `${JSON.stringify(text)}${line.slice(colon)}`;
      else changed[at] = text;
    }
    return changed.join('\n');
  });

describe('an estate file', () => {
  it('of any shape is read, or refused with where and what, in bounded time', () => {
    fc.assert(
      fc.property(
        fc.oneof({ weight: 5, arbitrary: mutated }, fc.string({ unit: 'binary', maxLength: 400 })),
        (text) => {
          const parsed = parseEstateFile(text);
          if (parsed.ok) return;
          expect(parsed.errors.length).toBeGreaterThan(0);
          for (const { message } of parsed.errors) {
            expect(message.length).toBeGreaterThan(10);
            expect(message.length).toBeLessThan(2000);
          }
        },
      ),
      { numRuns: 2000, examples: [[sample.replaceAll('"gcp"', JSON.stringify('a'.repeat(5000)))]] },
    );
  }, 120_000);

  it('with a secret in the place of a placeholder is refused without repeating it', () => {
    const text = sample.replaceAll(/\$\{\w+\}/g, planted);
    const parsed = parseEstateFile(text);
    expect(parsed.ok).toBe(false);
    expect(JSON.stringify(parsed)).not.toContain(planted);
  });

  it('that bombs is refused at once', () => {
    const bomb = [
      'a: &a [x,x,x,x,x,x,x,x,x]',
      ...'bcdefghi'.split('').map((name, at) => `${name}: &${name} [${`*${'abcdefgh'[at]},`.repeat(9)}]`),
    ].join('\n');
    const started = Date.now();
    for (const text of [
      bomb,
      '['.repeat(100_000),
      '{a: '.repeat(20_000),
      `a: ${'x'.repeat(2 ** 20)}`,
      '- '.repeat(50_000),
    ])
      expect(parseEstateFile(text).ok).toBe(false);
    expect(Date.now() - started).toBeLessThan(5000);
  });
});

describe('JSON from outside', () => {
  const schemas = {
    DeployEstateInput,
    DeployServiceInput,
    RemoveServiceInput,
    SteerServiceInput,
    RecoverServiceInput,
    PlanEstateInput,
    CheckEstateInput,
    Decision,
    NamedDecision,
    Command,
    YieldRequest,
    RecordChange,
    ServiceRecord,
  };
  it.each(Object.entries(schemas))('%s takes it or names the field, and pollutes nothing', (_, schema) => {
    fc.assert(
      fc.property(fc.oneof(object, json), (value) => {
        const parsed = schema.safeParse(value);
        if (!parsed.success)
          for (const { path, message } of parsed.error.issues)
            expect(`${path.join('.')}${message}`.length).toBeGreaterThan(3);
      }),
      { numRuns: 250 },
    );
    expect(Object.keys(Object.prototype)).toEqual([]);
    expect(({} as Record<string, unknown>).polluted).toBeUndefined();
  });
});

describe('text that others have written', () => {
  it('cannot control a terminal or forge a line of a log', () => {
    fc.assert(
      fc.property(fc.oneof(fc.constantFrom(...nasties), fc.string({ unit: 'binary', maxLength: 200 })), (text) => {
        // biome-ignore lint/suspicious/noControlCharactersInRegex: those are what must not be there
        expect(printable(text)).not.toMatch(/[\u0000-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069]/);
      }),
      { numRuns: 1000 },
    );
  });

  it('cannot make headings, links, HTML or code in the details of a run', () => {
    for (const text of nasties) {
      const shown = markdown(text);
      expect(shown).not.toMatch(/(^|[^\\])[<`[#]/m);
      expect(shown).not.toContain('\n');
    }
  });
});
