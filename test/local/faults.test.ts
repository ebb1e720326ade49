/** What the gateway lets clouds say and do, seen by the unmodified SDKs through each cloud's own classification. */

import type { Provider } from '../../activities/providers/driver.ts';
import { faultCommand, faultKinds } from '../../emulators/fault-command.ts';
import type { Cause } from '../../emulators/gateway/answers.ts';
import type { Fault } from '../../emulators/gateway/faults.ts';
import type { CloudErrorKind } from '../../model/errors.ts';
import { type ProviderType, providerTypes } from '../../model/service.ts';
import { testProviders } from '../conformance/providers.ts';
import { armFault, disarmFault, localRun } from './stack.ts';

/** The call that tells whose the credentials are, and nothing that others ask at the same time. */
const asked: Record<ProviderType, Fault['match']> = {
  aws: { cloud: 'aws', action: 'GetCallerIdentity' },
  azure: { cloud: 'azure', path: '/^.subscriptions(.[0-9a-f-]+)?$/' },
  gcp: { cloud: 'gcp', path: '/^.v[0-9]+.projects.[a-z0-9-]+$/' },
};
const kinds: [Cause, CloudErrorKind][] = [
  ['throttled', 'Throttled'],
  ['unavailable', 'Unavailable'],
  ['denied', 'PermissionDenied'],
  ['quota', 'QuotaExceeded'],
  ['expired', 'Unauthenticated'],
  ['revoked', 'Unauthenticated'],
  ['skewed', 'ClockSkewed'],
];

describe.each(providerTypes)('a fault of %s', (type) => {
  let provider: Provider;
  beforeAll(() => {
    provider = testProviders[type].provider();
  });
  afterAll(() => provider.close());
  const account = (ms = 20_000): Promise<string> => provider.account(AbortSignal.timeout(ms));
  const failing = async (fault: Pick<Fault, 'effect'> & Partial<Fault>): Promise<ReturnType<Provider['classify']>> => {
    const heal = await armFault({ match: asked[type], ...fault });
    try {
      return await account().then(
        () => Promise.reject(new Error('it succeeded')),
        (error: unknown) => provider.classify(error),
      );
    } finally {
      expect(await heal()).toBeGreaterThan(0);
      expect(await account()).not.toBe('');
    }
  };

  it.each(kinds)('%s is understood as %s', async (cause, kind) => {
    const seen = await failing({ effect: 'refuse', cause, retryAfterSeconds: 7 });
    // A page of a list fails without the answer's own words, which alone tell a wrong clock from a wrong token.
    const told = type === 'azure' && cause === 'skewed' ? 'Unauthenticated' : kind;
    expect(seen.kind).toBe(told);
    if (kind === 'Throttled') expect(seen.retryAfterMs).toBe(7000);
  });

  it.each(['lose-request', 'lose-answer', 'cut', 'refuse-after', 'late', 'reset'] as const)(
    '%s may have worked or not',
    async (effect) => {
      expect((await failing({ effect, cause: 'unavailable' })).kind).toBe('Unavailable');
    },
  );

  it('black-hole is given up at the deadline of the call', async () => {
    const deadlineMs = 700;
    const patient = testProviders[type].provider(undefined, deadlineMs);
    const heal = await armFault({ match: asked[type], effect: 'black-hole' });
    const started = Date.now();
    const error = await patient.account(AbortSignal.timeout(20_000)).catch((thrown: unknown) => thrown);
    expect(await heal()).toBeGreaterThan(0);
    expect(patient.classify(error).kind).toBe('Unavailable');
    expect(Date.now() - started).toBeLessThan(10_000);
    await patient.close();
  });

  it('slow and delay take their time and work', async () => {
    for (const effect of ['slow', 'delay'] as const) {
      const heal = await armFault({ match: asked[type], effect, delayMs: 600 });
      const started = Date.now();
      expect(await account()).not.toBe('');
      expect(Date.now() - started).toBeGreaterThan(500);
      expect(await heal()).toBeGreaterThan(0);
    }
  });
});

// An outage would hurt other tests.
test.each(Object.keys(faultKinds).filter((kind) => kind !== 'outage'))(
  '`local fault %s` arms what it says, for the calls that it names',
  async (kind) => {
    const said: string[] = [];
    const write = jest.spyOn(process.stdout, 'write').mockImplementation((text) => said.push(String(text)) > 0);
    await faultCommand(localRun(), [
      kind,
      '--cloud',
      'aws',
      '--path',
      `/never-${kind}`,
      '--count',
      '2',
      '--for',
      '60s',
      '--json',
    ]);
    write.mockRestore();
    const armed: { id: number; fault: Fault }[] = JSON.parse(said.join(''));
    const ours = armed.find(({ fault }) => fault.match.path === `/never-${kind}`);
    const { effect, cause } = faultKinds[kind] ?? {};
    expect(ours?.fault).toMatchObject({ effect, ...(cause && { cause }), times: 2, match: { cloud: 'aws' } });
    await disarmFault(ours?.id ?? 0);
  },
);
