/** A run's first activity: reads the worker's own estate file again, with the sections that the input may carry. */
import { createHash, X509Certificate } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { ApplicationFailure } from '@temporalio/activity';
import type { ApprovalRules } from '../../model/decisions.ts';
import { durationMs } from '../../model/duration.ts';
import type { Estate, EstateInput } from '../../model/estate.ts';
import { mergeInput, sectionsThatDiffer } from '../../model/estate-check.ts';
import { parseEstateFile } from '../../model/estate-file.ts';
import { justInTimeAuthority } from '../../model/just-in-time.ts';

export interface EstateDependencies {
  estateFile: string;
  allowedNames?: readonly string[] | undefined;
  waits: Waits;
}

/** Waits that depend on how far away the clouds are, milliseconds. */
export interface Waits {
  /** Longest that one call to a cloud may take before it is given up. */
  callDeadlineMs: number;
  /** How long after that a call that was given up may still take effect in the cloud. */
  settleMs: number;
  /** How long a blocked run waits before it looks again. */
  blockedMs: number;
  /** A run waits no longer than this until a fence holds everywhere, whatever the cloud says. */
  fenceMs: number;
  /** Who follows a store waits this long from one pass over its listing to the next. */
  followMs: number;
  /** How long a task for the role `sender` may wait before the run says that nobody plays it; left out: two minutes. */
  unservedMs?: number | undefined;
}

/** The checked estate; secrets are still placeholders. */
export interface LoadedEstate {
  estate: Estate;
  /** Of the services, placement and cost sections: what `deploy` applies. */
  hash: string;
  approvals: ApprovalRules & { deadlineMs: number; onDeadline: 'hold' | 'undo' };
  warnings: string[];
}

export function createEstateActivities({ estateFile, allowedNames, waits }: EstateDependencies) {
  return {
    /** `estate` must be the worker's own where it is given. */
    async loadEstate({
      estate: asked,
      file,
      others,
    }: {
      estate?: string | undefined;
      file?: EstateInput | undefined;
      /** Of the other sections of the asker's file: their digests. */
      others?: Record<string, string> | undefined;
    }): Promise<LoadedEstate> {
      const own = parseEstateFile(await readFile(estateFile, 'utf8'), { allowedNames });
      if (!own.ok) throw refused(own.errors);
      const differing = others ? sectionsThatDiffer(own.estate, others) : [];
      if (differing.length > 0)
        throw ApplicationFailure.nonRetryable(
          `The file differs from the worker's own in ${differing.join(', ')}. A run carries services, placement and cost only: change the rest in the worker's file, or make it the same in this one.`,
          'InvalidInput',
        );
      const merged = file ? mergeInput(own.estate, file) : own;
      if (!merged.ok) throw refused(merged.errors);
      const { estate } = merged;
      if (asked !== undefined && asked !== estate.name)
        throw ApplicationFailure.nonRetryable(
          `estate: found ${JSON.stringify(asked.slice(0, 40))}; this worker serves ${estate.name}. Leave the field out or start the run where a worker of that estate listens.`,
          'InvalidInput',
        );
      const unfit = unfitAuthorities(estate);
      if (unfit.length > 0) throw refused(unfit);
      const { required, approvers, identity, deadline, on_deadline: onDeadline, remind } = estate.approvals;
      return {
        estate,
        hash: createHash('sha256')
          .update(JSON.stringify([estate.services, estate.placement, estate.cost]))
          .digest('hex'),
        approvals: {
          ...{ required, approvers, identity, remindMs: durationMs(remind) },
          ...{ deadlineMs: durationMs(deadline), onDeadline },
        },
        warnings: [...own.warnings, ...merged.warnings]
          .map(({ message }) => message)
          .filter((text, at, all) => all.indexOf(text) === at),
      };
    },

    async waits(): Promise<Waits> {
      return waits;
    },
  };
}

/** What is written like a certificate and is none, or none that could sign another. */
function unfitAuthorities({ services }: Estate): { message: string }[] {
  return Object.entries(services).flatMap(([name, { configuration }]) => {
    const pem = justInTimeAuthority(configuration);
    if (pem === undefined || isAuthority(pem)) return [];
    return [
      {
        message: `services.${name}.configuration.just_in_time_authority: this is not the certificate of an authority.`,
      },
    ];
  });
}

function isAuthority(pem: string): boolean {
  try {
    return new X509Certificate(pem).ca;
  } catch {
    return false;
  }
}

const refused = (errors: readonly { message: string }[]): ApplicationFailure =>
  ApplicationFailure.nonRetryable(
    `The estate file was refused, with ${errors.length} ${errors.length === 1 ? 'error' : 'errors'}:\n${errors
      .slice(0, 50)
      .map(({ message }) => `- ${message}`)
      .join('\n')}`,
    'InvalidInput',
  );
