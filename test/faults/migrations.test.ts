/**
 * Migrations under a live writer, and all that can happen to them from their first call to the end of the source's retention:
 * every call that changes a cloud is lost before or after its effect, or comes late; at every moment the run is cancelled,
 * undone, paused, terminated and recovered, its worker killed, the cloud of its source or target gone. Each run ends done or
 * wholly undone, or says what it waits for and goes on; nothing that was written is lost or altered, nothing is left over, the service takes
 * writes, and the same migration succeeds afterwards.
 *
 * What a run goes on after strikes it several times, each at another moment; where that breaks a run, each is tried alone.
 *
 * `npm test` goes through one case, chosen by the commit; `npm run test:faults -- --only migrations` through all.
 */
import { createHash, randomBytes } from 'node:crypto';
import { mkdtempSync, readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { Client, Connection, type WorkflowHandle } from '@temporalio/client';
import type { ProviderPool } from '../../activities/providers/pool.ts';
import { sampleZone } from '../../emulators/environment.ts';
import type { Call } from '../../emulators/gateway/calls.ts';
import type { ProviderType } from '../../model/service.ts';
import { createNamespace, writeEstate } from '../e2e/own-worker.ts';
import { testPool, writeSettings } from '../e2e/worker-process.ts';
import { armFault, calls, localRun } from '../local/stack.ts';
import { type FaultCase, faultCases, recordedCalls } from './cases.ts';
import { byCommit, chosen, inLots, note, whole } from './choice.ts';
import { GatedWorker, type Question } from './gated-worker.ts';
import { MovingService, movable, type Point } from './moving-service.ts';

const estate = 'mf';
/** A lost call is given up, and can take effect, so much sooner than in real clouds. */
const waits = { callDeadlineMs: 3000, settleMs: 500, blockedMs: 300, followMs: 200, fenceMs: 200 };
/** Once around, so that a service is where the next case begins. */
const ring = [
  { from: 'aws', to: 'gcp' },
  { from: 'gcp', to: 'azure' },
  { from: 'azure', to: 'aws' },
] as const satisfies { from: ProviderType; to: ProviderType }[];
type Way = (typeof ring)[number];
/** Done; or gone back in the soak, with what was written at the target. */
const courses = ['done', 'back'] as const;
type Course = (typeof courses)[number];
const lanes = whole ? 3 : 1;
const wayId = ({ from, to }: Way): string => `${from} to ${to}`;
/** What happens to the run itself; cases with other fates of one cloud or worker have all of it to themselves. */
const fates = ['cancel', 'undo', 'pause', 'terminate, finish', 'terminate, undo'] as const;
const lonely = ['kill -9', 'source gone', 'target gone'] as const;
type Fate = (typeof fates)[number] | (typeof lonely)[number] | 'reject';
/** They change nothing: what happens at one of them has happened at the step that it belongs to. */
const looks = [
  'isRunning',
  'waits',
  'loadEstate',
  'readServices',
  'readEstate',
  'readApplied',
  'openEstate',
  'account',
];

interface Case {
  id: string;
  way: Way;
  course: Course;
  /** Runs while nothing else does: what happens to it cannot be told from what happens to others. */
  alone: boolean;
  call?: Pick<FaultCase, 'call' | 'effect'>;
  strike?: { point: Point; fate: Fate };
}

/** End in no digit of a hash, so that names of resources can be told from the hashes behind them. */
const names = [...'ghijklm'].flatMap((a) => [...'ghijklm'].map((b) => `lane${a}${b}`));
const folder = mkdtempSync(join(tmpdir(), 'migrations-'));
const file = writeEstate(
  join(folder, 'estate.yaml'),
  estate,
  Object.fromEntries(names.map((name) => [name, movable(['aws', 'gcp', 'azure'])])),
  {
    traffic: { zone: sampleZone, dns: 'gcp', ttl: '1s' },
    migration: { soak: '2s', source_retention: '1s' },
  },
);

let client: Client;
let pool: ProviderPool;
let worker: GatedWorker;
const moving = new Set<MovingService>();
const gateTroubles: string[] = [];

beforeAll(async () => {
  const { address } = localRun().temporal;
  const connection = await Connection.connect({ address });
  const namespace = `migrations-${randomBytes(3).toString('hex')}`;
  await createNamespace(connection, namespace);
  client = new Client({ connection, namespace });
  pool = testPool(file);
  const settings = writeSettings(folder, { estateFile: file, temporal: { address, namespace }, waits });
  worker = new GatedWorker({
    settings,
    answer,
    failed: (error) => gateTroubles.push(String(error)),
    retryMs: 100,
  });
  await worker.start();
}, 120_000);
afterAll(async () => {
  await Promise.all([...moving].map((one) => one.close()));
  await worker.kill();
  await Promise.all([pool.close(), client.connection.close()]);
}, 60_000);

async function answer(question: Question): Promise<'go'> {
  for (const one of moving) {
    const story = one.storyOf(question.workflowId);
    if (story) await one.hear(story, question);
  }
  return 'go';
}

async function fresh(at: ProviderType): Promise<MovingService> {
  const service = names.shift();
  if (!service) throw new Error('too many cases were broken: no name is left');
  const one = new MovingService({ client, pool, estate, service });
  moving.add(one);
  await one.deploy(at);
  return one;
}

/** What an undisturbed migration does. */
interface Recorded {
  way: Way;
  course: Course;
  calls: { label: string; call: FaultCase['call'] }[];
  points: Point[];
}

const answersOf = (course: Course) => ({ cutover: 'approve', ...(course === 'back' && { undo: 'approve' }) });
const soakOf = (course: Course): string => (course === 'done' ? '2s' : '1h');

async function reference(one: MovingService, way: Way, course: Course): Promise<Recorded> {
  const visits: [number, number][] = [];
  const last = async () => Math.max(0, ...(await calls({ since })).map(({ id }) => id));
  let since = 0;
  since = await last();
  one.onVisit = async (visit) => {
    const before = await last();
    await visit();
    visits.push([before, await last()]);
  };
  one.begin();
  one.moments = [];
  const { type, message } = await one.migrate({ ...way, soak: soakOf(course) }, answersOf(course));
  const broken = await one.judge([way.from, way.to]);
  const points = one.moments;
  one.moments = undefined;
  one.onVisit = (visit) => visit();
  if (type !== (course === 'done' ? '' : 'UndoRequested')) broken.unshift(`${type} ${message}`);
  if (broken.length > 0) throw new Error(`undisturbed ${wayId(way)}, ${course}: ${broken.join('; ')}`);

  const ours = [process.env.AWS_ACCESS_KEY_ID, process.env.AZURE_CLIENT_ID, googleAccount()];
  const made = (await calls({ since, mutating: true })).filter(
    ({ caller, status }) => status !== undefined && status < 400 && (caller === undefined || ours.includes(caller)),
  );
  const ofVisit = ({ id, host, path }: Call): boolean =>
    visits.some(([after, until]) => id > after && id <= until) && /^iam\.|roleAssignments|\/iam$/.test(host + path);
  const recorded = recordedCalls(made, true)
    .map((call, at) => ({
      label: anyGeneration(call.label.replaceAll(one.service, '<service>'), '*'),
      call,
      made: made[at],
    }))
    .filter((each) => each.made && !ofVisit(each.made) && !isOneOfMany(each.made, each.call))
    .map(({ label, call }) => {
      const { match, ...rest } = renamed(call, one.service, '<service>');
      return { label, call: { ...rest, match: { ...match, path: anyGeneration(match.path ?? '', '[0-9]+') } } };
    });
  return { way, course, calls: recorded, points };
}

/** Names of files of a placement hold its generation, which is another one each time that the service comes there. */
const anyGeneration = (text: string, by: string): string => text.replaceAll(/\b(aws|azure|gcp)-\d+\b/g, `$1-${by}`);

/** What is done over and over again, object by object and pass by pass, is no other call each time. */
const isOneOfMany = ({ path }: Call, { occurrence }: FaultCase['call']): boolean =>
  occurrence > 1 || /live(%2F|\/)[1-9]/.test(path);

const googleAccount = (): string =>
  JSON.parse(readFileSync(process.env.GCP_KEY_FILE ?? '', 'utf8')).client_email as string;

const renamed = (call: FaultCase['call'], from: string, to: string): FaultCase['call'] =>
  JSON.parse(JSON.stringify(call).replaceAll(from, to));

/** The lost calls of one direction; those of the way back only where the way there has not had them. */
function callCases(recorded: readonly Recorded[]): Case[] {
  const seen = new Set<string>();
  return recorded.flatMap(({ way, course, calls: made }) =>
    faultCases(
      wayId(way),
      made.map(({ label, call }) => ({ ...call, label })),
    ).flatMap(({ id, call, effect }) => {
      if (seen.has(id)) return [];
      seen.add(id);
      const alone = !JSON.stringify(call.match).includes('<service>');
      return [{ id: `${id}, ${course}`, way, course, alone, call: { call, effect } }];
    }),
  );
}

/** Every moment with every fate, each in one of the directions that have it. */
function strikeCases(recorded: readonly Recorded[]): Case[] {
  const all = new Map<string, Case[]>();
  for (const { way, course, points } of recorded) {
    const acts = points.filter(({ activity }) => !activity || !looks.includes(activity));
    const shown = new Set(acts.map(({ step }) => step));
    const some = [...acts, ...points.filter(({ step }) => !shown.has(step) && shown.add(step))];
    const role = (text = '') => text.replaceAll(way.from, 'source').replaceAll(way.to, 'target');
    const firsts = new Map<string, Point>();
    for (const point of some) {
      const { story, step, activity = '', queue, question } = point;
      const name = question ? role(step) : `${story} ${role(step)}, ${activity} on ${role(queue)}`;
      if (!firsts.has(name)) firsts.set(name, point);
    }
    for (const [name, point] of firsts)
      for (const fate of fatesAt(point)) {
        const id = `${fate} at ${name}, ${course}`;
        const alone = lonely.some((one) => one === fate);
        const one = { id, way, course, alone, strike: { point, fate } };
        all.set(id, [...(all.get(id) ?? []), one]);
      }
  }
  return [...all.values()].flatMap((some) => some.toSorted(byDigest((one) => one.id + wayId(one.way))).slice(0, 1));
}

const fatesAt = ({ story, question }: Point): Fate[] => {
  // A removal is not undone.
  if (story === 'retained') return ['cancel', 'terminate, finish', 'kill -9', 'source gone'];
  return [...fates, ...lonely, ...(question === 'cutover' ? (['reject'] as const) : [])];
};

const byDigest =
  <T>(text: (one: T) => string) =>
  (a: T, b: T): number => {
    const digest = (one: T): string => createHash('sha256').update(text(one)).digest('hex');
    return digest(a) < digest(b) ? -1 : 1;
  };

/** Several cases that one run goes through: it goes on after each, at another moment. */
function canShare(one: Case, other: Case): boolean {
  if (wayId(one.way) !== wayId(other.way) || one.course !== other.course || one.alone !== other.alone) return false;
  if (one.call && other.call) return JSON.stringify(one.call.call.match) !== JSON.stringify(other.call.call.match);
  const [strike, second] = [one.strike, other.strike].filter((each) => each !== undefined);
  // What comes after it is another run's.
  if (!second && strike?.fate === 'terminate, finish') return strike.point.story === 'migrate';
  const passes = (each = strike) => !each || (passing.includes(each.fate) && each.point.story === 'migrate');
  return passes() && passes(second) && JSON.stringify(strike?.point) !== JSON.stringify(second?.point);
}
const passing: string[] = ['pause', 'kill -9', 'source gone', 'target gone'];

/** What strikes a run, and what has to be done for it to go on. */
class Striker {
  readonly strike: NonNullable<Case['strike']>;
  /** What the run said that it waits for while a cloud was gone. */
  said: string | undefined;
  hit = false;
  busy = false;
  readonly lost: ProviderType;
  readonly #one: MovingService;
  readonly #canStrike: () => boolean;
  #repaired: Promise<void> = Promise.resolve();
  #over = false;

  constructor(one: MovingService, way: Way, strike: Striker['strike'], canStrike: () => boolean) {
    this.#one = one;
    this.strike = strike;
    this.lost = strike.fate === 'source gone' ? way.from : way.to;
    this.#canStrike = canStrike;
  }

  act = async (run: WorkflowHandle): Promise<void> => {
    if (!this.#canStrike()) return;
    this.hit = true;
    this.busy = true;
    await this.#act(run).finally(() => {
      this.#repaired = this.#repaired.finally(() => {
        this.busy = false;
      });
    });
  };

  async #act(run: WorkflowHandle): Promise<void> {
    const { fate } = this.strike;
    if (fate === 'cancel') await run.cancel();
    if (fate === 'undo') await run.signal('undo', { by: 'ann' });
    if (fate === 'terminate, finish' || fate === 'terminate, undo') await run.terminate();
    if (fate === 'pause') {
      await run.signal('pause', { by: 'ann' });
      this.#repaired = setTimeout(800).then(() => run.signal('resume', { by: 'ann' }).catch(() => {}));
    }
    if (fate === 'kill -9') {
      await worker.kill();
      await worker.start();
    }
    if (fate === 'source gone' || fate === 'target gone') this.#repaired = this.#gone();
  }

  /** The cloud is back once the run has ended without it, or has said for a while that it waits for it. */
  async #gone(): Promise<void> {
    const disarm = await armFault({ match: { cloud: this.lost }, effect: 'outage' });
    for (const end = Date.now() + 60_000; !this.#over && !this.said && Date.now() < end; await setTimeout(200))
      this.said = await this.#one.blocked();
    if (this.said) await setTimeout(1000);
    await disarm();
  }

  async over(): Promise<void> {
    this.#over = true;
    await this.#repaired;
  }
}

/** Loses a call once; tells afterwards whether there was such a call. */
async function lose(one: MovingService, { call, effect }: NonNullable<Case['call']>) {
  const delayMs = Math.floor(Math.random() * (waits.callDeadlineMs + waits.settleMs));
  const { match } = renamed(call, '<service>', one.service);
  const disarm = await armFault({ match, skip: call.occurrence, times: 1, effect, delayMs });
  return { disarm, lateMs: effect === 'late' ? delayMs : 0 };
}

interface Found {
  broken: string[];
  /** Cases that did not come about. */
  missed: Case[];
}

/** Goes through a lot in one run, with an undisturbed run after it where it has not come to its end. */
async function oneRun(one: MovingService, lot: readonly [Case, ...Case[]]): Promise<Found> {
  const [{ way, course, strike }] = lot;
  const broken: string[] = [];
  one.begin();
  const fates = lot.map((each) => each.strike?.fate);
  const strikers: Striker[] = lot.flatMap((each) =>
    each.strike ? [new Striker(one, way, each.strike, () => !strikers.some(({ busy }) => busy))] : [],
  );
  const rejects = fates.includes('reject');
  if (!rejects) one.strikes = strikers.map(({ strike: { point }, act }) => ({ point, act }));
  const lost = await Promise.all(lot.map(async (each) => ({ each, made: each.call && (await lose(one, each.call)) })));

  const answers = { ...answersOf(course), ...(rejects && { cutover: 'reject' }) };
  let ended = await one.migrate({ ...way, soak: soakOf(course) }, answers, 120_000 + 30_000 * (lot.length - 1));
  if (strike?.point.story === 'retained') {
    const [striker] = strikers;
    for (let look = 0; one.strikes.length > 0 && look < 100; look++) await setTimeout(200);
    await setTimeout(500);
    // What had not begun yet is nothing to be finished: the record begins it again within the hour, or who does not wait.
    const begun = strike.fate === 'terminate, finish' && (await one.record()).intents.length > 0;
    if (begun) ended = await one.drive('recoverService', { direction: 'finish' }, answers);
    else if (strike.fate === 'cancel' || strike.fate === 'terminate, finish')
      ended = await one.drive('removeService', { retained: true }, answers);
    if (strike.fate === 'source gone') for (let look = 0; !striker?.said && look < 100; look++) await setTimeout(200);
  } else if (ended.type === 'TerminatedFailure') {
    const direction = fates.includes('terminate, finish') ? 'finish' : 'undo';
    ended = await one.drive('recoverService', { direction }, answers);
  }
  for (const striker of strikers) await striker.over();
  const { type, message, orphans } = ended;
  if (!['', 'UndoRequested', 'ApprovalRejected', 'CancelledFailure'].includes(type)) broken.push(`${type}: ${message}`);
  if (orphans.length > 0) broken.push(`orphans ${JSON.stringify(orphans)}`);
  const goesOn = fates.some((fate) => fate && (passing.includes(fate) || fate === 'terminate, finish'));
  if (goesOn && course === 'done' && type !== '') broken.push(`it did not go on: ${type}: ${message}`);
  await setTimeout(Math.max(...lost.map(({ made }) => made?.lateMs ?? 0)));
  broken.push(...(await one.judge([way.from, way.to])));
  const calm: Case[] = [];
  for (const { each, made } of lost) if (made && (await made.disarm()) === 0) calm.push(each);
  for (const { strike: struck, hit } of rejects ? [] : strikers)
    if (!hit) calm.push(...lot.filter((each) => each.strike === struck));
  for (const { said, lost } of strikers)
    if (said && !said.includes(lost)) broken.push(`it does not say that ${lost} is away: ${said}`);

  one.strikes = [];
  if (broken.length === 0 && (await one.place()) === way.from) {
    const again = await one.migrate({ ...way, soak: '1s' }, answersOf('done'));
    if (again.type) broken.push(`again: ${again.type}: ${again.message}`);
    broken.push(...(await one.judge([way.from, way.to])).map((text) => `again: ${text}`));
  }
  broken.push(...gateTroubles.splice(0));
  return { broken, missed: calm };
}

const failed: string[] = [];
const missed: string[] = [];

/** Takes lots that begin where the service is, until none is left; moves it on where all that are left begin elsewhere. */
async function inLane(first: MovingService, left: Case[][]): Promise<MovingService> {
  let one = first;
  while (left.length > 0) {
    const at = (await one.place()) ?? ring[0].from;
    const next = left.findIndex(([some]) => some?.way.from === at);
    const [some, ...others] = next < 0 ? [] : (left.splice(next, 1)[0] ?? []);
    if (!some) {
      const way = ring.find(({ from }) => from === at) ?? ring[0];
      await one.migrate({ ...way, soak: '1s' }, answersOf('done'));
      await one.judge([]);
      continue;
    }
    const lot = [some, ...others] as const;
    const began = Date.now();
    const found = await oneRun(one, lot).catch((error: unknown): Found => ({ broken: [String(error)], missed: [] }));
    const took = `${wayId(some.way)}, ${Math.round((Date.now() - began) / 1000)} s for ${lot.length}`;
    const { broken } = found;
    for (const each of lot) {
      const { id } = each;
      const unreached = broken.length === 0 && found.missed.includes(each);
      if (lot.length > 1 && (broken.length > 0 || unreached)) left.push([each]);
      else if (unreached) missed.push(id);
      else {
        note(id, broken);
        if (broken.length > 0) failed.push(`${id}: ${broken.join('; ')}`);
      }
      process.stdout.write(`  ${broken.length > 0 ? '✘' : unreached ? 'missed' : '✔'} ${id} (${took})\n`);
    }
    if (broken.length === 0) continue;
    process.stdout.write(`      ${broken.join('\n      ')}\n`);
    // Whatever is left of it must not disturb the next one.
    await one.close();
    moving.delete(one);
    one = await fresh(some.way.to);
  }
  return one;
}

it('whatever happens to a migration: it ends done or undone, loses nothing, leaves nothing, and succeeds again', async () => {
  const way = byCommit(ring);
  const ways = whole || !way ? ring : [way];
  const [firstWay = ring[0]] = ways;
  const first = await fresh(firstWay.from);
  const recorded: Recorded[] = [];
  for (const way of ways)
    for (const course of whole ? (['back', 'done'] as const) : (['back'] as const))
      recorded.push(await reference(first, way, course));
  const all = [...callCases(recorded), ...strikeCases(recorded)].toSorted(byDigest(({ id }) => id));
  process.stdout.write(
    `${all.length} cases, ${all.filter(({ alone }) => alone).length} of them alone: ${callCases(recorded).length} of calls\n`,
  );
  const some = chosen(all, () => 'one');
  const others = await Promise.all(ring.slice(1, lanes).map(({ from }) => fresh(from)));
  const lots = inLots(some, 5, canShare);
  const together = lots.filter(([one]) => !one?.alone);
  const ended = await Promise.all([first, ...others].map((one) => inLane(one, together)));
  await Promise.all(ended.slice(1).map((one) => one.close()));
  await inLane(
    ended[0] ?? first,
    lots.filter(([one]) => one?.alone),
  );
  if (missed.length > 0) process.stdout.write(`${missed.length} cases were not reached\n`);
  expect(failed).toEqual([]);
}, 36_000_000);
