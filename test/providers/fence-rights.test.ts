/** What the fences make of rights, without a cloud: what others change meanwhile is kept, what was there before comes back. */
import { fencedPolicy, fenceName, liftedPolicy } from '../../activities/providers/aws/fence.ts';
import { fencedRoles, liftedRoles } from '../../activities/providers/azure/fence.ts';
import { fencedBindings, liftedBindings } from '../../activities/providers/gcp/fence.ts';
import type { JsonObject } from '../../model/service.ts';

const mark = { owner: { workflowId: 'migrate/e/s', runId: 'run-1' }, expiresAt: '2099-01-01T00:00:00Z' };
const later = { ...mark, expiresAt: '2099-02-02T00:00:00Z' };

describe('a bucket policy', () => {
  const us = { userId: 'AROAEXAMPLE:worker-7' };
  const fenced = (rights: JsonObject, at = mark) => fencedPolicy(rights, at, 'b', [fenceName(us)]);
  const pretty = JSON.stringify({ Version: '2012-10-17', Statement: [{ Effect: 'Allow', Sid: 'A' }] }, null, 2);

  it('comes back to the byte, spaces and all, and goes where there was none', () => {
    for (const before of [{ policy: pretty }, { policy: null }])
      expect(liftedPolicy(fenced(before), before)).toEqual(before);
  });

  it('lets every session of our role through, and carries whose fence it is until when', () => {
    const { Statement } = JSON.parse(String(fenced({ policy: null }).policy));
    expect(Statement[0]).toMatchObject({
      Sid: 'MultiCloudFenceRunrun1Until20990101T000000Z',
      Effect: 'Deny',
      Condition: { StringNotLike: { 'aws:userid': 'AROAEXAMPLE:*' } },
    });
  });

  it('is one statement however often it is fenced, and keeps what others add', () => {
    const before = { policy: pretty };
    const twice = fenced(fenced(before), later);
    expect(fenced(twice, later)).toBe(twice);
    const { Statement, ...policy } = JSON.parse(String(twice.policy));
    const theirs = { Effect: 'Deny', Sid: 'Theirs' };
    const lifted = liftedPolicy({ policy: JSON.stringify({ ...policy, Statement: [theirs, ...Statement] }) }, before);
    expect(JSON.parse(String(lifted.policy)).Statement).toEqual([theirs, { Effect: 'Allow', Sid: 'A' }]);
    expect(liftedPolicy(before, before)).toBe(before);
  });
});

describe('role assignments', () => {
  const assignment = (principalId: string, writes: boolean, more: object = {}): JsonObject => ({
    ...{ scope: '/s', roleDefinitionId: writes ? 'contributor' : 'reader', principalId, principalType: 'User' },
    ...{ description: '', condition: '', conditionVersion: '', reads: true, writes, ...more },
  });
  const before = { a: assignment('us', true), b: assignment('x', true, { condition: 'c' }), c: assignment('y', false) };

  it('that write become ones that read under the same condition, but for ours', () => {
    const fenced = fencedRoles(before, mark, ['US'], 'reader');
    const readers = Object.values(fenced).filter((one) => (one as { principalId: string }).principalId === 'x');
    expect(readers).toEqual([
      expect.objectContaining({ roleDefinitionId: 'reader', condition: 'c', writes: false, scope: '/s' }),
    ]);
    expect(fenced).toMatchObject({ a: before.a, c: before.c });
    expect(fencedRoles(fencedRoles(fenced, later, ['us'], 'reader'), mark, ['us'], 'reader')).toEqual(fenced);
    expect(liftedRoles(fenced, before, ['us'])).toEqual(before);
  });

  it('of others that came or went meanwhile stay so', () => {
    const { c: _gone, ...rest } = fencedRoles(before, mark, ['us'], 'reader');
    const now = { ...rest, d: assignment('z', false) };
    expect(liftedRoles(now, before, ['us'])).toEqual({ a: before.a, b: before.b, d: now.d });
  });

  it('that read already are not doubled', () => {
    const both = { b: assignment('x', true), c: assignment('x', false) };
    expect(fencedRoles(both, mark, ['us'], 'reader')).toEqual({ c: both.c });
    expect(liftedRoles({ c: both.c }, both, ['us'])).toEqual(both);
  });
});

describe('bindings', () => {
  const instead = ['viewer'];
  const before = {
    bindings: [
      { role: 'admin', instead, members: ['us', 'x'] },
      { role: 'viewer', members: ['y'] },
    ],
    labels: {},
  };
  const fenced = fencedBindings(before, mark, ['us']);

  it('that write become ones that read, but for ours', () => {
    expect(fenced).toEqual({
      bindings: [
        { role: 'admin', instead, members: ['us'] },
        { role: 'viewer', members: ['x', 'y'] },
      ],
      labels: { 'multi-cloud-fence': 'run-1', 'multi-cloud-fence-until': '20990101t000000z' },
    });
    expect(liftedBindings(fencedBindings(fenced, later, ['us']), before, ['us'])).toEqual(before);
  });

  it('of others that came meanwhile stay', () => {
    const now = { ...fenced, bindings: [{ role: 'viewer', members: ['x', 'y', 'z'] }] };
    expect(liftedBindings(now, before, ['us']).bindings).toEqual([
      { role: 'admin', instead, members: ['x'] },
      { role: 'viewer', members: ['y', 'z'] },
    ]);
  });
});
