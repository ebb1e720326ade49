/** The change that a copy is of, as it stands in the copy's metadata: how a copy is told from what a user has written. */
import { Change } from './conflict.ts';
import { sha256Hex } from './sha256.ts';

const none = '~';
/** A user who copies a copy to another name takes its metadata along: that is a write of his own. */
const nameOf = (key: string): string => sha256Hex(key).slice(0, 16);

/** At most 1 KB for 16 sides, in characters that every cloud's metadata takes. */
export function writeCopyStamp(key: string, { stamp, seen }: Change): string {
  const vector = Object.entries(seen).map(([side, time]) => `${side}=${time}`);
  return ['1', stamp.time, stamp.origin, stamp.sequence || none, nameOf(key), vector.sort().join(',')].join(' ');
}

const number = (text: string | undefined): number => (text === undefined || text === '' ? Number.NaN : Number(text));

/** Undefined for what is no stamp of ours, or that of an object under another key. */
export function readCopyStamp(key: string, text: string): Change | undefined {
  const [release, time, origin, sequence, name, vector = ''] = text.split(' ');
  if (release !== '1' || name !== nameOf(key)) return undefined;
  const seen = vector.split(',').map((one): [string, number] => {
    const [side = '', at] = one.split('=');
    return [side, number(at)];
  });
  const stamp = { time: number(time), origin, sequence: sequence === none ? '' : sequence };
  const read = Change.safeParse({ stamp, seen: Object.fromEntries(seen) });
  return read.success ? read.data : undefined;
}
