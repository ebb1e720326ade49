import fc from 'fast-check';
import { type AuditLine, lastWord, nextLine, verifyChain } from '../../model/audit.ts';

const run = { workflowId: 'deploy/e/s', runId: 'r' };
function trail(texts: readonly string[]): AuditLine[] {
  const lines: AuditLine[] = [];
  for (const what of [...texts, lastWord])
    lines.push(nextLine(run, lines.at(-1), { at: '2026-01-01T00:00:00Z', who: 'run', what, resource: '' }));
  return lines;
}
const texts = fc.array(fc.string({ unit: 'binary', maxLength: 20 }), { minLength: 2, maxLength: 20 });
const fields = ['at', 'who', 'what', 'resource', 'prev', 'hash', 'workflowId', 'runId'] as const;

describe('the chain of an audit trail', () => {
  it('holds as it was written', () => {
    fc.assert(
      fc.property(texts, (some) =>
        expect(verifyChain(trail(some))).toEqual({ lines: some.length + 1, complete: true }),
      ),
    );
    expect(verifyChain([])).toEqual({ lines: 0, complete: false });
  });

  it('names the line that was changed, in whatever field', () => {
    fc.assert(
      fc.property(texts, fc.nat(), fc.constantFrom(...fields), (some, at, field) => {
        const lines = trail(some);
        const index = at % lines.length;
        const changed = lines.map((line, n) => (n === index ? { ...line, [field]: `${line[field]}x` } : line));
        expect(verifyChain(changed).broken?.seq).toBe(index + 1);
      }),
    );
  });

  it('names the line that is missing, and tells when the end is', () => {
    fc.assert(
      fc.property(texts, fc.nat(), (some, at) => {
        const lines = trail(some);
        const index = at % (lines.length - 1);
        expect(verifyChain(lines.toSpliced(index, 1)).broken).toMatchObject({
          seq: index + 1,
          why: expect.stringContaining('missing'),
        });
        expect(verifyChain(lines.slice(0, -1))).toEqual({ lines: lines.length - 1, complete: false });
      }),
    );
  });

  it('names a line that was moved or doubled', () => {
    fc.assert(
      fc.property(texts, fc.nat(), fc.nat(), (some, one, other) => {
        const lines = trail(some);
        const [from, to] = [one % lines.length, other % lines.length];
        const [line] = lines.slice(from, from + 1);
        if (!line || from === to) return;
        expect(verifyChain(lines.toSpliced(from, 1).toSpliced(to, 0, line)).broken).toBeDefined();
        expect(verifyChain(lines.toSpliced(to + 1, 0, line)).broken).toBeDefined();
      }),
    );
  });

  it('does not let a line be rewritten with a right hash of its own', () => {
    const lines = trail(['approved by ann', 'created a bucket']);
    const [first] = lines;
    if (!first) throw new Error('no line');
    const forged = nextLine(run, undefined, { ...first, what: 'approved by bob' });
    expect(verifyChain([forged, ...lines.slice(1)]).broken?.seq).toBe(2);
  });
});
