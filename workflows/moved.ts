/**
 * What a migration carries from the placement that serves to the one that follows: objects, or devices. Each registers how it is
 * taken back before it acts.
 */
import type { EstatePlan } from '../model/operations.ts';
import type { Migration as MigrationRecord } from '../model/record.ts';

export interface Moved {
  /** What the record says once writers begin to be kept from the source. */
  readonly handing: Exclude<MigrationRecord['stage'], 'copying' | 'switched'>;
  /** Whether what has been handed over has shown that the target works. */
  readonly proven: boolean;
  /** What is only at the source, in words; said where it is kept for that. */
  readonly leftText: string;
  /** Takes back that an earlier run has begun to hand over. */
  release(): Promise<void>;
  /** The target takes writes, also where an earlier run has shut writers out of it on its way back. */
  admit(): Promise<void>;
  /** What an earlier run has begun besides, as far as it came, can be taken back. `begun`: with the target; `handing`: handing over. */
  undoable(what: 'begun' | 'handing'): void;
  copy(): Promise<void>;
  /** Ends when so little is behind that the rest can be carried over at once. */
  follow(): Promise<void>;
  /** What is asked before the cutover. */
  cutoverText(plan: EstatePlan): string;
  /** Keeps the one that follows in step while `ask` waits for people. */
  whileFollowing<T>(ask: () => Promise<T>): Promise<T>;
  /** Compares all of both; what has not moved on must be the same. */
  verify(): Promise<void>;
  /** Writers leave the source, and what they wrote there is brought over. */
  handOver(): Promise<void>;
  /** They leave the target again, and what they wrote there is brought back; says what. */
  handBack(): Promise<string>;
  /** From now on it goes the other way. */
  turned(): void;
  /** At the end of the soak: tells what is left at the source. */
  settle(): Promise<void>;
  /** Nothing is followed any more. */
  close(): Promise<void>;
}
