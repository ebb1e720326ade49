/** The certificates that were made for devices of a move: files that are written once, and never over. */
import { claimedCredential, Issued } from '../../model/device-claim.ts';
import type { Device } from '../../model/fleet.ts';
import { type Files, fromLines } from '../transfer/files.ts';

const folder = 'issued/';
export const issuedFile = (census: string): string => `${folder}${census}.jsonl`;

export async function issuedIn(files: Files | undefined): Promise<Map<string, Issued>> {
  const issued = new Map<string, Issued>();
  for (const name of (await files?.list(folder)) ?? [])
    for (const one of linesOf((await files?.read(name)) ?? new Uint8Array()))
      if (!issued.has(one.id)) issued.set(one.id, one);
  return issued;
}

export const linesOf = (bytes: Uint8Array): Issued[] => fromLines(bytes).map((line) => Issued.parse(line));

/** As the cloud that it goes to knows it. */
export function withIssued(device: Device, issued: ReadonlyMap<string, Issued>): Device {
  const own = issued.get(device.id);
  return own ? { ...device, credential: claimedCredential(own) } : device;
}
