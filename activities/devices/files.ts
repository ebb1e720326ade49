/** The files of a fleet that moves, in the records bucket of the target's place: censuses, and what is told of devices. */
import { hash, X509Certificate } from 'node:crypto';
import { ApplicationFailure } from '@temporalio/activity';
import { z } from 'zod';
import { comparable, Device, fleetFields } from '../../model/fleet.ts';
import { recordsPlacement } from '../../model/records.ts';
import type { PlacementRef } from '../../model/transfer.ts';
import type { ProviderDependencies } from '../providers/activities.ts';
import { cellOf, ofPlacement, paceOf, providerCalls } from '../providers/calls.ts';
import type { Provider } from '../providers/driver.ts';
import { recordsBuckets } from '../records/bucket.ts';
import { type Files, filesOf, ordinal, unpackLines } from '../transfer/files.ts';

export type DeviceDependencies = Pick<ProviderDependencies, 'pool' | 'pollMs' | 'callDeadlineMs' | 'recordsDays'>;

export function parsed<S extends z.ZodType>(schema: S, input: unknown): z.output<S> {
  const { data, error } = schema.safeParse(input);
  if (error) throw ApplicationFailure.nonRetryable(z.prettifyError(error), 'InvalidInput');
  return data as z.output<S>;
}

/** The files of this name, in the bucket of this place, which is made where it is missing. */
export function fleetFiles({ pool, pollMs, callDeadlineMs, recordsDays = 400 }: DeviceDependencies) {
  const { requireAccount } = providerCalls({ pool, callDeadlineMs });
  const ensureBucket = recordsBuckets({ cellOf, pace: paceOf(pollMs), retentionDays: recordsDays, repair: false });
  return async (provider: Provider, keptAt: PlacementRef, name: string, signal: AbortSignal): Promise<Files> => {
    await requireAccount(provider, ofPlacement(keptAt), signal);
    await ensureBucket(provider, recordsPlacement(keptAt.owner, keptAt), signal);
    return filesOf(provider, { target: keptAt, transfer: name }, signal);
  };
}

export const devicesFile = (shard: number): string => `devices/${ordinal(shard)}.jsonl.gz`;

export async function devicesOf(files: Files, shard: number): Promise<Device[]> {
  const bytes = await files.read(devicesFile(shard));
  if (!bytes)
    throw ApplicationFailure.nonRetryable(
      `shard ${shard} is not in the census ${files.key('devices/')}`,
      'InvalidInput',
    );
  return unpackLines(bytes).map((line) => Device.parse(line));
}

export async function* devicesIn(files: Files): AsyncGenerator<Device> {
  const { length } = await files.list('devices/');
  for (let shard = 0; shard < length; shard++) yield* await devicesOf(files, shard);
}

function* slices<T>(all: readonly T[], size: number): Generator<T[]> {
  for (let at = 0; at < all.length; at += size) yield all.slice(at, at + size);
}
export const batches = <T>(all: readonly T[], size: number): T[][] => [...slices(all, size)];

/** Of a certificate, base64 of DER. */
export const expiryOf = (der: string): number => new X509Certificate(Buffer.from(der, 'base64')).validToDate.getTime();

/** Eight hex digits a field, in their order: enough to tell what differs, and small where there are many devices. */
export const digestsOf = (device: Device): string =>
  fleetFields.map((field) => hash('sha256', comparable(device, field)).slice(0, 8)).join('');
export const fieldsBetween = (a: string, b: string): string[] =>
  fleetFields.filter((_, at) => a.slice(8 * at, 8 * at + 8) !== b.slice(8 * at, 8 * at + 8));
