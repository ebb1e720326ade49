/** `verifyService`: compares the placements of a service object by object; where it is asked to, makes the copies equal again. */
import * as wf from '@temporalio/workflow';
import type { BulkActivities } from '../activities/index.ts';
import { type Comparison, type Findings, type VerifyResult, VerifyServiceInput } from '../model/operations.ts';
import type { RecordedPlacement, ServiceRecord } from '../model/record.ts';
import { type Owner, objectTypes, type ServiceType } from '../model/service.ts';
import { sha256Hex } from '../model/sha256.ts';
import {
  mostDeletes,
  placementRef,
  type RepairedTransfer,
  type Transfer,
  type VerifiedTransfer,
} from '../model/transfer.ts';
import { bulk, control, failure } from './calls.ts';
import { compareReplicated } from './compare-sides.ts';
import { inLanes } from './graph.ts';
import { extraText, gigabytes } from './migration-text.ts';
import { Operation } from './operation.ts';
import { placementOf } from './removal.ts';

/** Ranges of keys that are compared at the same time. */
const lanes = 4;
/** Of one of them: most of it is listed only, about 30 s. */
const shardObjects = 50_000;
const shardBytes = 64 * 1024 ** 3;

export async function verifyService(raw: unknown): Promise<VerifyResult> {
  const op = new Operation('repair');
  return op.run(async () => {
    const input = op.parse(VerifyServiceInput, raw);
    const { service, repair } = input;
    op.board.phase('looking');
    const { estate, approvals } = await control.loadEstate({ estate: input.estate });
    op.decisions.obey(approvals);
    op.about(estate.name, service, estate.services[service]?.type);
    const lock = repair ? await op.locks.take(service, 'repair') : undefined;
    if (lock && 'attached' in lock) return lock.attached;

    const { [service]: record } = await control.readServices({ estate: estate.name });
    const wish = estate.services[service]?.replication;
    const sides = (record?.placements ?? []).filter(({ role }) => role === 'current');
    const replicated = wish && sides.length > 1 && input.from === undefined && wf.patched('sides-compared');
    if (replicated && isCompared(sides[0]?.type ?? 'compute')) {
      const { uid, controller } = await control.openEstate({ estate: estate.name });
      const owner = { estate: estate.name, service, uid, controller };
      if (repair) {
        op.board.record(input.by || 'unnamed', `repair of all sides by ${wish.conflict_resolution}`, service);
        op.recordsIn(sides.map((one) => placementOf(owner, one)));
      }
      const verified = await compareReplicated(op, { owner, sides, wish, repair });
      op.board.phase(verified.equal ? 'equal' : 'different');
      return { ...op.result('done'), verified };
    }
    const { counts, others } = sidesOf(service, record, input);
    const { uid, controller } = await control.openEstate({ estate: estate.name });
    const owner = { estate: estate.name, service, uid, controller };
    if (repair) {
      op.board.record(input.by || 'unnamed', `repair from ${counts.provider}`, service);
      op.recordsIn([counts, ...others].map((one) => placementOf(owner, one)));
    }
    const comparisons: Comparison[] = [];
    for (const other of others) comparisons.push(await new Pair(op, { owner, counts, other, repair }).compare());
    const equal = comparisons.every(({ found, repaired }) => isEqual((repaired ?? { found }).found));
    op.board.phase(equal ? 'equal' : 'different');
    return { ...op.result('done'), verified: { from: counts.provider, comparisons, equal } };
  });
}

const isCompared = (type: ServiceType): boolean =>
  objectTypes.includes(type) || (type === 'iot_core' && wf.patched('registries-compared'));

/** The placement that counts, and those that are compared with it; refuses what cannot be compared, or not be repaired. */
function sidesOf(
  service: string,
  record: ServiceRecord | undefined,
  { from, repair }: Pick<VerifyServiceInput, 'from' | 'repair'>,
): { counts: RecordedPlacement; others: RecordedPlacement[] } {
  const { placements = [], migration } = record ?? {};
  const current = placements.filter(({ role }) => role === 'current');
  const counts = from === undefined ? current[0] : current.find(({ provider }) => provider === from);
  const where = current.map(({ provider }) => provider).join(', ');
  if (!counts)
    throw where
      ? failure('InvalidInput', `from: ${service} has no current placement on ${from}; it runs on ${where}.`)
      : failure('ServiceNotFound', `${service} runs on no cloud: there is nothing to compare.`);
  if (!objectTypes.includes(counts.type))
    throw failure(
      'NotSupported',
      `${service} is a ${counts.type}; this release compares ${objectTypes.join(' and ')}, and an iot_core whose replication the file wishes.`,
    );
  const others = placements.filter((one) => one !== counts);
  if (repair && current.length > 1)
    throw failure(
      'NotSupported',
      `${service} is current on ${where}: each may hold what the others lack, so none is made equal to another. Compare them without repair.`,
    );
  if (repair && migration)
    throw failure(
      'OperationInProgress',
      `A migration of ${service} from ${migration.from.provider} to ${migration.to.provider} was interrupted. Finish it or take it back first: multi-cloud recover ${service} [--undo]`,
    );
  return { counts, others };
}

interface Sides {
  owner: Omit<Owner, 'generation'>;
  counts: RecordedPlacement;
  other: RecordedPlacement;
  repair: boolean;
}

/** The placement that counts and one other. */
class Pair {
  readonly #op: Operation;
  readonly #sides: Sides;
  readonly #transfer: Transfer;

  constructor(op: Operation, sides: Sides) {
    this.#op = op;
    this.#sides = sides;
    const { owner, counts, other } = sides;
    this.#transfer = {
      source: placementRef(owner, counts),
      target: placementRef(owner, other),
      transfer: `verify-${wf.uuid4().slice(0, 8)}`,
      digest: 'crc32',
    };
  }

  async compare(): Promise<Comparison> {
    const { other, repair } = this.#sides;
    const { provider, region, role } = other;
    const listed = await this.#op.board.step(
      `${provider}/list`,
      () => this.#call('list', (on) => on.planTransfer({ ...this.#transfer, shardObjects, shardBytes })),
      ({ objects, bytes }) => `${objects} objects, ${gigabytes(bytes)} GB`,
    );
    const shards = Array.from({ length: listed.shards }, (_, shard) => shard);
    const seen = await this.#look('compare', shards);
    const found = sumOf(seen);
    const before = { provider, region, role, found };
    if (!repair || isEqual(found)) return before;
    const repaired = await this.#repair(seen, listed.objects);
    const differing = shards.filter((shard) => seen[shard]?.report);
    return { ...before, repaired: { ...repaired, found: sumOf(await this.#look('compare again', differing)) } };
  }

  #look(step: string, shards: readonly number[]): Promise<VerifiedTransfer[]> {
    const { provider } = this.#sides.other;
    return this.#op.board.step(
      `${provider}/${step}`,
      () =>
        inLanes(shards, lanes, (shard) =>
          this.#call(`${step} range ${shard + 1}`, (on) =>
            on.verifyTransfer({ ...this.#transfer, what: { kind: 'shard', shard } }),
          ),
        ),
      (seen) => foundText(sumOf(seen)),
    );
  }

  async #repair(seen: readonly VerifiedTransfer[], objects: number): Promise<RepairedTransfer> {
    const { counts, other, owner } = this.#sides;
    const { service } = owner;
    // A source that was kept because it has what was never copied: that exists nowhere else.
    const keeps = other.role === 'retained' && other.removeAt === undefined;
    const extra = sumOf(seen).different.extra ?? 0;
    const limit = mostDeletes(objects);
    if (!keeps && extra > limit) {
      const hash = sha256Hex([service, counts.provider, other.provider, this.#transfer.transfer].join('\n'));
      const text = extraText(service, other.provider, extra, limit);
      const answers: [string, string] = ['continue', 'undo'];
      const answer = await this.#op.decisions.ask({ question: 'brake', text, answers, planHash: hash });
      if (answer === 'undo')
        throw failure('UndoRequested', `${extra} objects of ${service} on ${other.provider} were not to be deleted.`);
    }
    const reports = seen.flatMap(({ report }) => report || []);
    return this.#op.board.step(
      `${other.provider}/repair`,
      async () => {
        const done = await inLanes(reports, lanes, (report) =>
          this.#call('repair', (on) =>
            on.repairTransfer({ ...this.#transfer, report, gone: keeps ? 'keep' : 'delete' }),
          ),
        );
        const total = done.reduce(added, nothing);
        this.#op.board.record('run', repairedText(total), `${service} on ${other.provider}`);
        await this.#op.keepTrail(service);
        return total;
      },
      repairedText,
    );
  }

  /** A look without a lock says in its own details that it is held; the record is not its to write. */
  #call<T>(what: string, act: (on: BulkActivities) => Promise<T>): Promise<T> {
    const { owner, counts, other, repair } = this.#sides;
    const on = bulk(counts.provider, other.provider, `${what}: ${owner.service} on ${other.provider}`);
    return this.#op.held(repair ? owner.service : '', () => act(on));
  }
}

const isEqual = ({ different }: Findings): boolean => Object.values(different).every((count) => count === 0);

function sumOf(seen: readonly VerifiedTransfer[]): Findings {
  const sum = (of: (one: VerifiedTransfer) => number): number => seen.reduce((total, one) => total + of(one), 0);
  const different: Findings['different'] = {};
  for (const one of seen)
    for (const [what, count] of Object.entries(one.different) as [keyof typeof different, number][])
      different[what] = (different[what] ?? 0) + count;
  return {
    objects: sum(({ compared }) => compared.objects),
    bytes: sum(({ compared }) => compared.bytes),
    same: sum(({ same }) => same),
    different,
    differentNames: seen.flatMap(({ differentNames }) => differentNames).slice(0, 5),
    reports: seen.flatMap(({ report }) => report || []).slice(0, 5),
  };
}

const nothing: RepairedTransfer = {
  copied: { objects: 0, bytes: 0 },
  deleted: 0,
  kept: 0,
  failed: 0,
  failedNames: [],
};
const added = (a: RepairedTransfer, b: RepairedTransfer): RepairedTransfer => ({
  copied: { objects: a.copied.objects + b.copied.objects, bytes: a.copied.bytes + b.copied.bytes },
  deleted: a.deleted + b.deleted,
  kept: a.kept + b.kept,
  failed: a.failed + b.failed,
  failedNames: [...a.failedNames, ...b.failedNames].slice(0, 5),
});

const foundText = ({ objects, bytes, different }: Findings): string =>
  `${objects} objects, ${gigabytes(bytes)} GB compared: ${
    Object.entries(different)
      .map(([what, count]) => `${count} × ${what}`)
      .join(', ') || 'all the same'
  }`;
const repairedText = ({ copied, deleted, kept, failed }: RepairedTransfer): string =>
  `${copied.objects} objects copied, ${deleted} deleted, ${kept} kept, ${failed} failed`;
