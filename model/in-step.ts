/**
 * Bringing one key of one side to what another side has: which calls, in which order, under which conditions, and what
 * becomes of whom it replaces. Whoever calls it makes the calls; it may be cut off before and after each of them, run twice,
 * and run beside others on the same key.
 */
import { announce, capture, type Entry, type KeyState, type Look, settle, type Tombstone } from './capture.ts';
import { type Change, type Clamped, type ConflictRule, covers, isSame, keptKey } from './conflict.ts';

type ObjectState = Extract<KeyState, { kind: 'object' }>;
type Changed = ObjectState | Tombstone;

/** What the target needs. `loser`: an object that goes though nobody who knew it has replaced or deleted it. */
type Decision =
  /**
   * `same`: it is there. `stale`: the target has something that stands against it. `nothing`: the source knows nothing of the
   * key.
   */
  | { does: 'nothing'; why: 'same' | 'stale' | 'nothing' }
  /** The source loses, and `keep-both` keeps it at the target under another name. */
  | { does: 'keep'; loser: ObjectState }
  /** `over`: the version that it replaces; undefined: only where nothing is. */
  | { does: 'copy'; object: ObjectState; over: string | undefined; loser?: ObjectState | undefined }
  /** `over`: the version that is deleted; undefined: it is gone, and only the tombstone is written. */
  | { does: 'delete'; tombstone: Tombstone; over: string | undefined; loser?: ObjectState | undefined };

type Replacement = Extract<Decision, { does: 'copy' | 'delete' }>;

/** Pure: the same two states lead to the same decision, whoever asks. */
export function decide(rule: ConflictRule, source: KeyState, target: KeyState): Decision {
  if (source.kind === 'nothing') return { does: 'nothing', why: 'nothing' };
  if (target.kind === 'nothing') return replace(source, undefined, undefined);
  if (isSame(source.change, target.change)) return { does: 'nothing', why: 'same' };
  const wins = rule.outranks(source.change, target.change);
  const [winner, loser] = wins ? [source, target] : [target, source];
  const lost = loser.kind === 'object' && !covers(winner.change, loser.change) ? loser : undefined;
  if (wins) return replace(source, target.kind === 'object' ? target.version : undefined, lost);
  return rule.loser === 'kept' && lost ? { does: 'keep', loser: lost } : { does: 'nothing', why: 'stale' };
}

const replace = (source: Changed, over: string | undefined, loser: ObjectState | undefined): Decision =>
  source.kind === 'object'
    ? { does: 'copy', object: source, over, loser }
    : { does: 'delete', tombstone: source, over, loser };

/** A loser as it is logged, before it goes. The same loser of the same key is the same line, however often it is met. */
export interface Loss {
  side: string;
  key: string;
  version: string;
  change: Change;
  /** What stands instead. */
  winner: Change;
}

/** An entry of a book as it was read. `revision`: another one after each change; undefined where there is no entry. */
export interface Booked {
  entry: Entry;
  revision: string | undefined;
}

/**
 * The calls. Each may fail by throwing, with or without effect: the key then is taken up again. Where a condition does not
 * hold, the answer is undefined or false, and nothing has happened.
 */
export interface Calls {
  /** `blank` where there is none. */
  readBook(side: string, key: string): Promise<Booked>;
  /** Only over `revision`; answers the new one. */
  writeBook(side: string, key: string, entry: Entry, revision: string | undefined): Promise<string | undefined>;
  look(side: string, key: string): Promise<Look>;
  /** Bytes, attributes and stamp of a loser, in this very version, to where losers are kept. */
  log(loss: Loss): Promise<boolean>;
  /** This very version of the source, with `change` as its stamp. `over` undefined: only where nothing is. */
  copy(copy: {
    from: { side: string; key: string; version: string };
    to: { side: string; key: string };
    change: Change;
    over: string | undefined;
  }): Promise<{ version: string } | undefined>;
  remove(side: string, key: string, version: string): Promise<boolean>;
  /** Whether this version of an object of the source may go: what is larger than a filter lets through stays. */
  fits?(side: string, key: string, version: string): boolean;
  /** Whether this direction may delete or replace what stands at the target (`model/brake.ts`); not asked of an expiry. */
  admit(key: string, does: 'delete' | 'overwrite'): boolean;
  clamped(key: string, clamped: Clamped): void;
  now(): number;
}

/**
 * `applied`, or what a decision says; `echo`: it reaches the target by another way. `filtered`: it does not go. `expires`: the
 * target has a rule of its own by which it goes there. `held`: the brake does not admit it. `busy`: it kept changing. A
 * notification of the key may be acknowledged after all of them but `held` and `busy`.
 */
export type Outcome =
  | 'applied'
  | 'kept'
  | 'same'
  | 'stale'
  | 'nothing'
  | 'echo'
  | 'filtered'
  | 'expires'
  | 'held'
  | 'busy';

export interface Direction {
  from: string;
  to: string;
  rule: ConflictRule;
  /** How long a tombstone counts, ms: `tombstones` of the estate file. */
  tombstoneMs: number;
  /** Whether this direction carries what was changed on `origin` (`routes`); a comparison of both sides asks for all. */
  carries(origin: string): boolean;
  /** The name that a key of the source has at the target; left out: the same. */
  nameAt?(key: string): string;
  /** Whether objects of the target expire by a rule of its own: what has expired elsewhere is left to it. */
  expires?: boolean;
}

const mostTries = 8;

export async function bringInStep(direction: Direction, key: string, calls: Calls): Promise<Outcome> {
  const { from, carries, nameAt = (same: string) => same } = direction;
  for (let tries = 0; tries < mostTries; tries++) {
    const source = await known(direction, from, key, calls);
    if (!source) continue;
    if (source.state.kind === 'nothing') return 'nothing';
    if (!carries(source.state.change.stamp.origin)) return 'echo';
    if (source.state.kind === 'object' && calls.fits?.(from, key, source.state.version) === false) return 'filtered';
    const outcome = await bring(direction, { side: from, key, state: source.state }, nameAt(key), calls);
    if (outcome) return outcome;
  }
  return 'busy';
}

interface Known extends Booked {
  state: KeyState;
}

/** What stands under the key on a side, as its book says by now; undefined where somebody else has written there meanwhile. */
async function known(
  { rule, tombstoneMs }: Direction,
  side: string,
  key: string,
  calls: Calls,
): Promise<Known | undefined> {
  const { entry, revision } = await calls.readBook(side, key);
  const look = await calls.look(side, key);
  const captured = capture({ side, rule, now: calls.now(), tombstoneMs }, entry, look);
  if (captured.stray) {
    const { version, change, deletedBy } = captured.stray;
    // It may be an older version that a user has put back in this very moment.
    if (await calls.log({ side, key, version, change, winner: deletedBy })) await calls.remove(side, key, version);
    return undefined;
  }
  if (!captured.entry) return { state: captured.state, entry, revision };
  const written = await calls.writeBook(side, key, captured.entry, revision);
  if (written === undefined) return undefined;
  if (captured.clamped) calls.clamped(key, captured.clamped);
  return { state: captured.state, entry: captured.entry, revision: written };
}

interface Source {
  side: string;
  key: string;
  state: Changed;
}

/** Undefined where something has changed meanwhile: to be looked at again. */
async function bring(direction: Direction, source: Source, key: string, calls: Calls): Promise<Outcome | undefined> {
  const { to, rule } = direction;
  const target = await known(direction, to, key, calls);
  if (!target) return undefined;
  const decision = decide(rule, source.state, target.state);
  if (decision.does === 'nothing') return decision.why;
  const keptAt = rule.loser === 'kept' && decision.loser ? keptKey(key, decision.loser.change.stamp) : undefined;
  if (decision.does === 'keep') {
    // It is logged where it stands, once the winner comes there.
    if (keptAt === undefined) return 'stale';
    return (await keep(direction, { ...source, state: decision.loser }, keptAt, calls)) ? 'kept' : undefined;
  }

  const { over, loser } = decision;
  const expires = decision.does === 'delete' && decision.tombstone.cause === 'lifecycle';
  if (over !== undefined && expires && direction.expires) return 'expires';
  const does = decision.does === 'copy' ? 'overwrite' : 'delete';
  if (over !== undefined && !expires && !calls.admit(key, does)) return 'held';
  if (loser) {
    const loss = { side: to, key, version: loser.version, change: loser.change, winner: source.state.change };
    const kept =
      keptAt === undefined
        ? await calls.log(loss)
        : await keep(direction, { side: to, key, state: loser }, keptAt, calls);
    if (!kept) return undefined;
  }
  return (await replaceAt(decision, target, source, { side: to, key }, calls)) ? 'applied' : undefined;
}

/** Puts a loser under `key` beside the winner at the target. There its own directions take it up. */
async function keep(direction: Direction, loser: Source, key: string, calls: Calls): Promise<boolean> {
  const outcome = await bring(direction, loser, key, calls);
  return outcome !== undefined && outcome !== 'held';
}

/**
 * A tombstone where nothing is cannot be taken for what a user does, nor a newer copy over a version. An older copy can, which
 * takes back under `source-wins` what was changed elsewhere.
 */
function mustAnnounce(decision: Replacement, present: KeyState): boolean {
  if (decision.does === 'delete') return decision.over !== undefined;
  return decision.over === undefined || (present.kind !== 'nothing' && covers(present.change, decision.object.change));
}

async function replaceAt(
  decision: Replacement,
  target: Known,
  source: Source,
  { side, key }: { side: string; key: string },
  calls: Calls,
): Promise<boolean> {
  const { change } = source.state;
  let { entry, revision }: Booked = target;
  if (mustAnnounce(decision, target.state)) {
    const cause = decision.does === 'delete' ? decision.tombstone.cause : 'user';
    entry = announce(entry, { does: decision.does, change, cause, at: calls.now() });
    const announced = await calls.writeBook(side, key, entry, revision);
    if (announced === undefined) return false;
    revision = announced;
  }
  let state: KeyState;
  if (decision.does === 'copy') {
    const from = { side: source.side, key: source.key, version: decision.object.version };
    const written = await calls.copy({ from, to: { side, key }, change, over: decision.over });
    if (!written) return false;
    state = { kind: 'object', version: written.version, change, since: calls.now() };
  } else {
    if (decision.over !== undefined && !(await calls.remove(side, key, decision.over))) return false;
    state = { ...decision.tombstone, recordedAt: calls.now() };
  }
  return (await calls.writeBook(side, key, settle(entry, state, calls.now()), revision)) !== undefined;
}
