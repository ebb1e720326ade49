/** From the copies of a record that several buckets keep to the one that counts. Pure. */
import type { EstateRecord, Orphan, ServiceRecord } from './record.ts';
import { restingStatus } from './record.ts';
import type { Kept } from './records.ts';
import { canonical } from './sha256.ts';

/** One copy as it was read from a bucket. */
export interface Copy {
  /** `aws in us-west-2`. */
  bucket: string;
  key: string;
  kept?: Kept | undefined;
  /** Why it cannot be read, or what is wrong with the trail of the run that has written it; empty where nothing is. */
  problem: string;
}

/** Whose records are looked for. */
export interface Sought {
  estate: string;
  uid: string;
  controller: string;
  /** By provider: the account that the worker's credentials belong to. */
  accounts: Readonly<Record<string, string>>;
}

export interface Choice<R> {
  /** The copy that counts; undefined where none does. */
  chosen: { bucket: string; record: R } | undefined;
  /** Copies that do not count, and why. */
  refused: { bucket: string; why: string }[];
  /** In what the other copies differ from the one that counts. */
  differences: string[];
}

/** The newest of the copies that are this estate's and whose run's trail holds their hash, unbroken. */
export function chooseCopy<R extends Kept['record']>(
  copies: readonly Copy[],
  sought: Sought,
  isWanted: (record: Kept['record']) => record is R,
): Choice<R> {
  const refused: Choice<R>['refused'] = [];
  const good: { bucket: string; record: R }[] = [];
  for (const { bucket, key, kept, problem } of copies) {
    const why = problem || (kept ? foreign(kept, sought) : 'it is empty');
    if (why) refused.push({ bucket, why });
    else if (kept && isWanted(kept.record)) good.push({ bucket, record: kept.record });
    else refused.push({ bucket, why: `what lies under ${key} is a record of something else` });
  }
  const [chosen, ...others] = good.toSorted((a, b) => b.record.revision - a.record.revision);
  const differences = others.flatMap((other) => {
    const fields = chosen ? differing(chosen.record, other.record) : [];
    return fields.length === 0
      ? []
      : [
          `${other.bucket} has revision ${other.record.revision}, ${chosen?.bucket} revision ${chosen?.record.revision}, which counts: they differ in ${fields.join(', ')}`,
        ];
  });
  return { chosen, refused, differences };
}

/** Why a copy is another's; empty where it is ours. */
function foreign({ uid, controller, record }: Kept, sought: Sought): string {
  if (record.estate !== sought.estate) return `it is of the estate ${record.estate}`;
  if (uid !== sought.uid) return `it is of the UID ${uid}`;
  if (controller !== sought.controller) return `its controller is ${controller || 'not named'}`;
  const places = 'service' in record ? [...record.places, ...record.placements] : [];
  const other = places.find(({ provider, account }) => account !== (sought.accounts[provider] ?? account));
  if (other)
    return `it names the account ${other.account} on ${other.provider}; the credentials belong to ${sought.accounts[other.provider]}`;
  return '';
}

const differing = (a: object, b: object): string[] => {
  const [left, right] = [new Map(Object.entries(a)), new Map(Object.entries(b))];
  return [...new Set([...left.keys(), ...right.keys()])].filter(
    (field) => canonical(left.get(field)) !== canonical(right.get(field)),
  );
};

/** The command that ends the read-only time of rebuilt records. */
export const confirmCommand = (uid: string): string => `npx multi-cloud recover --confirm ${uid}`;

/** A record to go on with: nobody holds it, and it says that it waits for a person to confirm it. */
export function rebuiltService(
  { holder: _, next: __, ...kept }: ServiceRecord,
  uid: string,
  orphans: readonly Orphan[],
): ServiceRecord {
  return {
    ...kept,
    orphans: [...orphans],
    applied: {},
    status: restingStatus(kept),
    waitingFor: `rebuilt and read-only. Compare it with what runs (npx multi-cloud doctor), then: ${confirmCommand(uid)}`,
    revision: kept.revision + 1,
  };
}

export const rebuiltEstate = (
  { estate, uid, controller }: Sought,
  kept: EstateRecord | undefined,
  services: readonly string[],
): EstateRecord => ({
  v: 1,
  estate,
  uid,
  controller,
  ...(kept?.lastApplied && { lastApplied: kept.lastApplied }),
  revision: (kept?.revision ?? 0) + 1,
  services: [...new Set([...(kept?.services ?? []), ...services])].sort(),
  unconfirmed: true,
});
