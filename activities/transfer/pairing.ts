/** The stores of two placements, as an activity works on both: their providers, the gate, the files of the transfer. */
import { recordsPlacement } from '../../model/records.ts';
import type { PlacementRef, Transfer } from '../../model/transfer.ts';
import type { ProviderDependencies } from '../providers/activities.ts';
import { cellOf, ofPlacement, paceOf, type providerCalls } from '../providers/calls.ts';
import type { Provider } from '../providers/driver.ts';
import { recordsBuckets } from '../records/bucket.ts';
import { callBytes as oneCallBytes, type Pairing, type Side } from './copy-object.ts';
import { copiesIn, filesOf } from './files.ts';
import { Gate } from './gate.ts';
import { Receipts } from './receipts.ts';

export type TransferDependencies = Pick<ProviderDependencies, 'pool' | 'pollMs' | 'callDeadlineMs' | 'recordsDays'> &
  Partial<Pick<Pairing, 'callBytes'>>;

/** Runs one activity body on both stores; its failure leaves as the contract's error types. `details`: what a heartbeat carries. */
export type AtPair = <T>(
  transfer: Transfer,
  details: () => unknown,
  act: (pairing: Pairing) => Promise<T>,
) => Promise<T>;

export function pairings(
  {
    pollMs,
    recordsDays = 400,
    callBytes = oneCallBytes,
  }: Pick<TransferDependencies, 'pollMs' | 'recordsDays' | 'callBytes'>,
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
        const sideOf = (provider: Provider, placement: PlacementRef): Side => {
          const store = provider.store(placement);
          return { provider, store, receipts: new Receipts(copiesIn(provider, placement, signal), store) };
        };
        return act({
          source: sideOf(source, transfer.source),
          target: sideOf(target, transfer.target),
          gate: new Gate(signal),
          files: filesOf(target, transfer, signal),
          callBytes,
          sha256: transfer.digest === 'sha256',
          signal,
        });
      },
      details,
    );
  };
}
