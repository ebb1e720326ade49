import {
  type ApprovalRules,
  type Decision,
  planToken,
  type Question,
  type RecordedDecision,
  refusal,
} from '../../model/decisions.ts';

const plan = planToken('hash', 'run', 'plan');
const question: Question = {
  question: 'plan',
  text: 'Approve?',
  answers: ['approve', 'reject'],
  plan,
  since: '2026-01-01T00:00:00Z',
};
const good: Decision = { question: 'plan', answer: 'approve', by: 'ann', plan };
const rules: ApprovalRules = { required: 1, approvers: [], identity: 'named', remindMs: 1000 };
const given: RecordedDecision = { ...good, at: '', via: 'signal', verified: false, obeyed: true };

describe('a decision', () => {
  it('is obeyed when it answers this question, for this plan and run', () => {
    expect(refusal(good, question, rules, [], false)).toBeUndefined();
  });

  it.each<[string, Decision, Question | undefined, ApprovalRules, RecordedDecision[], RegExp]>([
    ['nothing is asked', good, undefined, rules, [], /nothing waits/],
    ['another question is asked', { ...good, question: 'cutover' }, question, rules, [], /nothing waits/],
    [
      'the answer is none of the allowed',
      { ...good, answer: 'maybe' },
      question,
      rules,
      [],
      /allowed: approve, reject/,
    ],
    ['it names no plan', { ...good, plan: undefined }, question, rules, [], /"plan" is missing/],
    [
      'it is for another run',
      { ...good, plan: planToken('hash', 'run before', 'plan') },
      question,
      rules,
      [],
      /another plan or run/,
    ],
    [
      'it is for another plan',
      { ...good, plan: planToken('older', 'run', 'plan') },
      question,
      rules,
      [],
      /another plan or run/,
    ],
    ['its sender is not listed', good, question, { ...rules, approvers: [{ name: 'bob' }] }, [], /not listed/],
    ['signatures are asked for and it has none', good, question, { ...rules, identity: 'signed' }, [], /proof/],
    ['the same person answers twice', good, question, { ...rules, required: 2 }, [given], /already answered/],
  ])('is not obeyed when %s', (_, decision, asked, law, earlier, why) => {
    expect(refusal(decision, asked, law, earlier, false)).toMatch(why);
  });

  it('has a token of 12 hex digits that differs by plan, run and question', () => {
    const tokens = [
      plan,
      planToken('h2', 'run', 'plan'),
      planToken('hash', 'r2', 'plan'),
      planToken('hash', 'run', 'cutover'),
    ];
    expect(new Set(tokens).size).toBe(4);
    for (const token of tokens) expect(token).toMatch(/^[0-9a-f]{12}$/);
  });
});
