/** What surrounds each activity that speaks to clouds: its providers, heartbeats, rotated keys, the shape of failures. */
import { ApplicationFailure, CancelledFailure, Context } from '@temporalio/activity';
import { CloudError } from '../../model/errors.ts';
import type { Placement } from '../../model/service.ts';
import type { Cell, Provider } from './driver.ts';
import type { Providers } from './pool.ts';
import { guarded, type Pace } from './provision.ts';

/** Something in an account of a cloud. */
export interface AccountOf {
  provider: string;
  account: string;
  resource: string;
}

export const ofPlacement = ({
  provider,
  account,
  owner,
}: Pick<Placement, 'provider' | 'account' | 'owner'>): AccountOf => ({
  provider,
  account,
  resource: owner.service,
});

export const paceOf = (pollMs: number) => (): Pace => ({
  pollMs,
  heartbeat: (detail) => Context.current().heartbeat(detail),
});

export function cellOf(provider: Provider, placement: Pick<Placement, 'type'>): Cell {
  const cell = provider.cells.find(({ type }) => type === placement.type);
  if (!cell) throw ApplicationFailure.nonRetryable(`${provider.type} has no ${placement.type}`, 'NotSupported');
  return cell;
}

/** A `CloudError` as the contract's error type; anything else as it is. */
const failureOf = (error: unknown): unknown =>
  error instanceof CloudError
    ? ApplicationFailure.create({
        type: error.kind,
        message: error.message,
        nonRetryable: !error.retryable,
        details: [error.fields],
        ...(error.fields.retryAfterMs !== undefined && { nextRetryDelay: error.fields.retryAfterMs }),
      })
    : error;

/** Runs the body of an activity that speaks to no cloud. */
export async function asFailure<T>(act: () => Promise<T>): Promise<T> {
  try {
    return await act();
  } catch (error) {
    throw failureOf(error);
  }
}

/** `callDeadlineMs`: longest that one request may take before the attempt is given up. */
export function providerCalls({ pool, callDeadlineMs }: { pool: Providers; callDeadlineMs: number }) {
  /**
   * Runs one activity body with its providers, by role; its failure leaves as the contract's error types. `details`: what a
   * heartbeat carries.
   */
  async function atEach<K extends string, T>(
    names: Readonly<Record<K, string>>,
    act: (providers: Record<K, Provider>, signal: AbortSignal) => Promise<T>,
    details: () => unknown = () => undefined,
  ): Promise<T> {
    const context = Context.current();
    const beat = setInterval(() => context.heartbeat(details()), 5000);
    const attempt = async (): Promise<T> => {
      const made: [string, Provider][] = [];
      for (const [role, name] of Object.entries<string>(names)) made.push([role, await pool.get(name)]);
      const providers = Object.fromEntries(made) as Record<K, Provider>;
      try {
        return await act(providers, context.cancellationSignal);
      } catch (error) {
        if (error instanceof CloudError && error.kind === 'Unauthenticated')
          for (const [role, provider] of made) await pool.forget(names[role as K], provider);
        throw error;
      }
    };
    try {
      // Keys may have been rotated: the second try reads them again.
      return await attempt().catch((error: unknown) => {
        if (error instanceof CloudError && error.kind === 'Unauthenticated') return attempt();
        throw error;
      });
    } catch (error) {
      if (context.cancellationSignal.aborted) throw new CancelledFailure('cancelled');
      throw failureOf(error);
    } finally {
      clearInterval(beat);
    }
  }

  const accountOf = (name: string, provider: Provider, signal: AbortSignal): Promise<string> =>
    guarded(provider, 'account', name, () =>
      pool.account(name, AbortSignal.any([signal, AbortSignal.timeout(callDeadlineMs)])),
    );

  /** Refuses credentials of another account than the one that something belongs to: it is looked at and changed with these only. */
  async function requireAccount(
    provider: Provider,
    { provider: name, account, resource }: AccountOf,
    signal: AbortSignal,
  ): Promise<void> {
    const own = await accountOf(name, provider, signal);
    if (own !== account)
      throw new CloudError(
        { kind: 'NotOurs', provider: name, operation: 'account', resource },
        `it is in the account ${account}, and the credentials of the worker belong to ${own}; nothing was changed`,
      );
  }

  const at = <T>(name: string, act: (provider: Provider, signal: AbortSignal) => Promise<T>): Promise<T> =>
    atEach({ only: name }, ({ only }, signal) => act(only, signal));

  const atAccount = <T>(of: AccountOf, act: (provider: Provider, signal: AbortSignal) => Promise<T>): Promise<T> =>
    at(of.provider, async (provider, signal) => {
      await requireAccount(provider, of, signal);
      return act(provider, signal);
    });

  const atPlacement = <T>(
    placement: Placement,
    act: (provider: Provider, signal: AbortSignal) => Promise<T>,
  ): Promise<T> => atAccount(ofPlacement(placement), act);

  return { atEach, at, atAccount, atPlacement, accountOf, requireAccount };
}
