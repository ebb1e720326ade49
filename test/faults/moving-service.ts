/** A service that migrations move from cloud to cloud under a live writer: what happens to their runs, and what they leave. */
import { setTimeout } from 'node:timers/promises';
import {
  ApplicationFailure,
  type Client,
  TerminatedFailure,
  WorkflowFailedError,
  type WorkflowHandle,
  WorkflowNotFoundError,
} from '@temporalio/client';
import type { ProviderPool } from '../../activities/providers/pool.ts';
import { findStrays } from '../../activities/providers/strays.ts';
import { resolveEndpoint } from '../../client/endpoint.ts';
import { sampleZone } from '../../emulators/environment.ts';
import type { WaitingFor } from '../../model/decisions.ts';
import { type OperationResult, taskQueue, workflowIds } from '../../model/operations.ts';
import type { Progress } from '../../model/progress.ts';
import type { EstateRecord, RecordedPlacement, ServiceRecord } from '../../model/record.ts';
import type { Placement, ProviderType } from '../../model/service.ts';
import { type Visitor, visitors } from '../fence/visitors.ts';
import { localRun } from '../local/stack.ts';
import type { Question } from './gated-worker.ts';
import { LiveWriter } from './live-writer.ts';

/** Written before anything moves. */
const old = new Map([
  ['old/ä + %25/1', 'one'],
  ['old/empty', ''],
  ['old/last', 'x'.repeat(4000)],
]);

/** A moment of a migration: after the n-th of these activities has taken effect, or when a question is asked. */
export interface Point {
  /** The migration's own run, or the one by which the record removes the source. */
  story: 'migrate' | 'retained';
  /** Phase and step that it shows then. */
  step: string;
  activity?: string;
  queue?: string;
  at?: number;
  question?: string;
}

export interface Strike {
  point: Point;
  act: (run: WorkflowHandle) => Promise<void>;
}

export interface Ended {
  /** `ApprovalRejected`, `CancelledFailure`, `TerminatedFailure`; empty where it is done. */
  type: string;
  message: string;
  orphans: OperationResult['orphans'];
}

interface Setting {
  client: Client;
  pool: ProviderPool;
  estate: string;
  service: string;
}

export type Answers = Partial<Record<string, string>>;

export class MovingService {
  readonly service: string;
  readonly #setting: Setting;
  readonly #visitors = new Map<string, { generation: number; visitor: Visitor }>();
  #writer: LiveWriter | undefined;
  readonly #counts = new Map<string, number>();
  /** Where a migration is recorded: its moments so far. */
  moments: Point[] | undefined;
  strikes: Strike[] = [];
  /** While rights on a store are given to the writer, by the hand of its owner: IDs of calls are of no run then. */
  onVisit: (visit: () => Promise<void>) => Promise<void> = (visit) => visit();

  constructor(setting: Setting) {
    this.#setting = setting;
    this.service = setting.service;
  }

  /** On this cloud alone, with what is old, and with its writer. */
  async deploy(at: ProviderType): Promise<void> {
    const { service } = this;
    const file = { services: { [service]: movable([at]) } };
    const ended = await this.#end(await this.#start('deployService', { service, file }));
    if (ended.type) throw new Error(`${service} was not deployed: ${ended.type} ${ended.message}`);
    const visitor = await this.#visit(at);
    for (const [key, text] of old) await visitor.write(key, text);
    this.#writer = new LiveWriter(async () => this.#visitors.get((await this.endpoint())[0] ?? '')?.visitor);
  }

  async close(): Promise<void> {
    await this.#writer?.stop();
  }

  record(): Promise<ServiceRecord> {
    return this.#query(workflowIds.cloudService(this.#setting.estate, this.service));
  }

  async endpoint(): Promise<string[]> {
    const servers = [localRun().dns.gcp ?? ''];
    const { endpoints } = await resolveEndpoint({ service: this.service, zone: sampleZone, servers });
    return endpoints.map(({ provider }) => provider);
  }

  /** The cloud that it is on, where it is on one alone. */
  async place(): Promise<ProviderType | undefined> {
    const { placements } = await this.record();
    return placements.find(({ role }) => role === 'current')?.providerType;
  }

  begin(): void {
    this.#counts.clear();
    this.strikes = [];
  }

  /** Which story a run belongs to, if any of this service. */
  storyOf(workflowId: string): Point['story'] | undefined {
    if (workflowId === `migrateService-${this.service}`) return 'migrate';
    const removal = `${workflowIds.removeService(this.#setting.estate, this.service)}-retained`;
    return workflowId === removal ? 'retained' : undefined;
  }

  /** Hears of each activity of its runs. */
  async hear(story: Point['story'], { when, activityType: activity, taskQueue: queue, ...run }: Question) {
    if (when === 'before' && run.attempt > 1) return;
    const kind = [story, activity, queue, when].join(' ');
    const at = (this.#counts.get(kind) ?? 0) + 1;
    this.#counts.set(kind, at);
    const handle = this.#setting.client.workflow.getHandle(run.workflowId, run.runId);
    if (this.moments && when === 'before') {
      const step = await stepOf(handle, this.service);
      this.moments.push({ story, step, activity, queue, at });
    }
    const here = ({ point }: Strike) =>
      point.story === story && point.activity === activity && point.queue === queue && point.at === at;
    if (when === 'after') await this.#hit(this.strikes.find(here), handle);
  }

  async #hit(strike: Strike | undefined, run: WorkflowHandle): Promise<void> {
    if (!strike) return;
    this.strikes = this.strikes.filter((one) => one !== strike);
    await strike.act(run).catch((error: unknown) => {
      if (!(error instanceof WorkflowNotFoundError)) throw error; // it has just ended
    });
  }

  migrate(input: { from: string; to: string; soak: string }, answers: Answers, mostMs?: number): Promise<Ended> {
    return this.drive('migrateService', { ...input, source_retention: '1s', by: 'ann' }, answers, mostMs);
  }

  /** Runs an operation to its end, answering what it asks. One that does not end in time is terminated. */
  async drive(type: string, input: object, answers: Answers, mostMs = 120_000): Promise<Ended> {
    const run = await this.#start(type, { service: this.service, ...input });
    let ended: Ended | undefined;
    const ends = this.#end(run).then((end) => {
      ended = end;
    });
    const asked = new Set<string>();
    let last: Progress | undefined;
    for (const giveUp = Date.now() + mostMs; !ended && Date.now() < giveUp; await setTimeout(100)) {
      last = (await run.query<Progress>('progress').catch(() => undefined)) ?? last; // its worker may be away
      for (const question of last?.waitingFor ?? []) {
        if (asked.has(question.plan)) continue;
        asked.add(question.plan);
        await this.#asked(run, question, answers);
      }
    }
    if (!ended) {
      await run.terminate('it did not end');
      await ends;
      const { phase, blocked, held, waitingFor } = last ?? {};
      const message = JSON.stringify({ phase, blocked, held, waitingFor: waitingFor?.map(({ text }) => text) });
      return { type: 'it did not end', message, orphans: [] };
    }
    return ended;
  }

  async #asked(run: WorkflowHandle, { question, plan }: WaitingFor, answers: Answers): Promise<void> {
    if (this.moments) this.moments.push({ story: 'migrate', step: `question ${question}`, question });
    if (question === 'cutover') await this.#visitTarget();
    if (question === 'undo') await this.#writer?.writes(3, 3000);
    const here = ({ point }: Strike) => point.question === question;
    await this.#hit(this.strikes.find(here), run);
    const answer = answers[question];
    if (answer === undefined) return;
    // The worker may be away, or the run have ended meanwhile.
    await run.signal('decide', { question, answer, by: 'ann', plan }).catch(() => {});
  }

  /** Whether this run, or what removes the source after it, says in words what it waits for to be repaired. */
  async blocked(): Promise<string | undefined> {
    const { client, estate } = this.#setting;
    const ids = [
      `migrateService-${this.service}`,
      `${workflowIds.removeService(estate, this.service)}-retained`,
      `recoverService-${this.service}`,
    ];
    for (const id of ids) {
      const run = client.workflow.getHandle(id);
      const shown = await run.query<Progress>('progress').catch(() => undefined);
      const { status } = await run.describe().catch(() => ({ status: undefined }));
      if (status?.name === 'RUNNING' && shown?.blocked) return shown.blocked;
    }
    return undefined;
  }

  /** What differs from the promise now that all is over: the service is on one cloud, whole, writable, and nothing else is left. */
  async judge(clouds: readonly ProviderType[]): Promise<string[]> {
    const broken: string[] = [];
    await this.#settled();
    const { placements, intents, orphans, migration, holder, status } = await this.record();
    const place = placements[0]?.providerType;
    const roles = placements.map(({ provider, role }) => `${provider} ${role}`).join(', ');
    if (placements.length !== 1 || placements[0]?.role !== 'current') broken.push(`placements: ${roles || 'none'}`);
    for (const { operation, placement } of intents) broken.push(`intent to ${operation} on ${placement.provider}`);
    for (const { kind, name, reason } of orphans) broken.push(`orphan ${kind} ${name}: ${reason}`);
    if (migration) broken.push(`the record still has a migration: ${migration.stage}`);
    if (holder) broken.push(`held by ${holder.workflowId}`);
    if (status !== 'running') broken.push(`it is ${status}`);
    const endpoint = await this.endpoint().catch(String);
    if (`${endpoint}` !== place) broken.push(`its endpoint is ${endpoint}`);
    if (!(await this.#writer?.writes(3, 10_000))) broken.push(`writers are refused on ${place}`);
    for (const cloud of clouds) broken.push(...(await this.#strays(cloud)));
    if (place) broken.push(...(await this.#altered(place)));
    return broken;
  }

  /** Waits until the record has removed what the migration had kept: a worker that was killed in it is missed after 20 s. */
  async #settled(): Promise<void> {
    for (const end = Date.now() + 90_000; Date.now() < end; await setTimeout(100)) {
      const { placements, holder } = await this.record();
      if (!holder && placements.every(({ removeAt }) => removeAt === undefined)) return;
    }
  }

  async #altered(place: ProviderType): Promise<string[]> {
    const recorded = (await this.record()).placements.find(({ provider }) => provider === place);
    if (!recorded) return [];
    const [{ objects }, placement] = [await this.#setting.pool.get(place), await this.#placementOf(recorded)];
    const read = async (key: string): Promise<string | undefined> => {
      const found = await objects.get(placement, key, AbortSignal.timeout(20_000));
      return found && Buffer.from(found.bytes).toString();
    };
    const wrong = (await this.#writer?.wrong(read)) ?? [];
    for (const [key, text] of old) if ((await read(key)) !== text) wrong.push(`${key} is not what it was`);
    return wrong;
  }

  async #strays(name: ProviderType): Promise<string[]> {
    const record = await this.record();
    const place = record.places.find((one) => one.provider === name);
    if (!place) return [];
    const owner = await this.#owner();
    const placement = { ...place, owner: { ...owner, generation: 1 }, type: 'storage' as const, configuration: {} };
    const known = record.placements.flatMap(({ resources }) => resources);
    const found = await findStrays(await this.#setting.pool.get(name), placement, known, AbortSignal.timeout(30_000));
    return found.filter((one) => one.service === this.service).map((one) => `left on ${name}: ${one.kind} ${one.name}`);
  }

  /** The writer may write to the target as soon as the switch sends it there. */
  async #visitTarget(): Promise<void> {
    const { placements } = await this.record();
    const target = placements.find(({ role }) => role === 'target')?.providerType;
    for (let left = 60; target; left--)
      try {
        await this.#visit(target);
        return;
      } catch (error) {
        if (left === 0) throw error;
        await setTimeout(500); // its cloud may be gone
      }
  }

  async #visit(on: ProviderType): Promise<Visitor> {
    const recorded = (await this.record()).placements.find(({ provider }) => provider === on);
    if (!recorded) throw new Error(`${this.service} is not on ${on}`);
    const { generation, resources } = recorded;
    const before = this.#visitors.get(on);
    if (before?.generation === generation) return before.visitor;
    const made = Object.fromEntries(resources.map(({ key, outputs }) => [key, outputs]));
    let visitor: Visitor | undefined;
    await this.onVisit(async () => {
      visitor = await visitors[on](await this.#placementOf(recorded), made);
    });
    if (!visitor) throw new Error(`nobody visits ${on}`);
    this.#visitors.set(on, { generation, visitor });
    return visitor;
  }

  async #placementOf(recorded: RecordedPlacement): Promise<Placement> {
    return { ...recorded, owner: { ...(await this.#owner()), generation: recorded.generation } };
  }

  async #owner() {
    const { estate, service } = this.#setting;
    const { uid } = await this.#query<EstateRecord>(workflowIds.cloudEstate(estate));
    return { estate, uid, service, controller: '' };
  }

  #query<R>(workflowId: string): Promise<R> {
    return this.#setting.client.workflow.getHandle(workflowId).query<R>('record');
  }

  #start(type: string, input: object): Promise<WorkflowHandle> {
    const workflowId = `${type}-${this.service}`;
    return this.#setting.client.workflow.start(type, { taskQueue, workflowId, args: [input] });
  }

  async #end(run: WorkflowHandle): Promise<Ended> {
    try {
      const { orphans } = (await run.result()) as OperationResult;
      return { type: '', message: '', orphans };
    } catch (error) {
      if (!(error instanceof WorkflowFailedError)) throw error;
      const { cause } = error;
      if (cause instanceof ApplicationFailure) {
        const { orphans = [] } = (cause.details?.[0] ?? {}) as Partial<OperationResult>;
        return { type: cause.type ?? '', message: cause.message, orphans };
      }
      const type = cause instanceof TerminatedFailure ? 'TerminatedFailure' : (cause?.name ?? error.name);
      return { type, message: cause?.message ?? error.message, orphans: [] };
    }
  }
}

export const movable = (preferred: readonly string[]) => ({
  type: 'storage',
  redundancy: 1,
  preferred_providers: preferred,
  protect: false,
});

/** What the run says it is doing, without the names of this service. */
async function stepOf(run: WorkflowHandle, service: string): Promise<string> {
  const { phase, steps } = await run.query<Progress>('progress');
  const now = steps.filter(({ status }) => status === 'running' || status === 'undoing').at(-1)?.name ?? '';
  const place = /^(aws|azure|gcp)\//;
  const named = now.replaceAll(`${service}/`, '').replaceAll(service, 'it').replace(place, '');
  return named ? `${phase}: ${named}` : phase;
}
