/** The stores of two placements, as an activity works on both: their providers, the gate, the files of the transfer. */
import { recordsPlacement } from '../../model/records.ts';
import type { Transfer } from '../../model/transfer.ts';
import type { ProviderDependencies } from '../providers/activities.ts';
import { cellOf, ofPlacement, paceOf, type providerCalls } from '../providers/calls.ts';
import { recordsBuckets } from '../records/bucket.ts';
import type { Pairing } from './copy-object.ts';
import { filesOf } from './files.ts';
import { Gate } from './gate.ts';

export type TransferDependencies = Pick<ProviderDependencies, 'pool' | 'pollMs' | 'callDeadlineMs' | 'recordsDays'>;

/** Runs one activity body on both stores; its failure leaves as the contract's error types. `details`: what a heartbeat carries. */
export type AtPair = <T>(
  transfer: Transfer,
  details: () => unknown,
  act: (pairing: Pairing) => Promise<T>,
) => Promise<T>;

export function pairings(
  { pollMs, recordsDays = 400 }: Pick<TransferDependencies, 'pollMs' | 'recordsDays'>,
  { atEach, requireAccount }: ReturnType<typeof providerCalls>,
): AtPair {
  const ensureBucket = recordsBuckets({ cellOf, pace: paceOf(pollMs), retentionDays: recordsDays, repair: false });

  return (transfer, details, act) => {
    const names = { source: transfer.source.provider, target: transfer.target.provider };
    return atEach(
      names,
      async ({ source, target }, signal) => {
        await requireAccount(source, ofPlacement(transfer.source), signal);
        await requireAccount(target, ofPlacement(transfer.target), signal);
        await ensureBucket(target, recordsPlacement(transfer.target.owner, transfer.target), signal);
        return act({
          source: { provider: source, store: source.store(transfer.source) },
          target: { provider: target, store: target.store(transfer.target) },
          gate: new Gate(signal),
          files: filesOf(target, transfer, signal),
          signal,
        });
      },
      details,
    );
  };
}
