/**
 * Telemetry while a fleet is between two clouds: what comes to the one that follows is written into the stream of the one that
 * serves, and both are watched for whom they show. They run beside all else; one that fails is begun anew.
 */
import * as wf from '@temporalio/workflow';
import type { RecordedPlacement } from '../model/record.ts';
import type { Owner } from '../model/service.ts';
import type { FollowedTelemetry } from '../model/telemetry-pump.ts';
import type { PlacementRef } from '../model/transfer.ts';
import { Alerts } from './alerts.ts';
import { cloud, urgent, watch } from './calls.ts';
import type { Operation } from './operation.ts';
import { reason } from './progress.ts';
import { placementOf } from './removal.ts';

/** A pump returns after this long, so that a run's history stays short over days. */
const pumpMs = 1_800_000;
/** After so long a pump returns at once where a device has refused a redirect. */
const firstAlarmMs = 5000;
/** Before one that failed is begun again. */
const againMs = 15_000;
/** One that has not returned so long after it should have hangs. */
const slackMs = 30_000;
/** How long is looked for what is still in a stream, and how often at the most. */
const drainMs = 5000;
const mostDrains = 20;

export interface Pumping {
  service: string;
  owner: Omit<Owner, 'generation'>;
  /** Names the files of what was seen. */
  name: string;
  epoch: number;
  keptAt: () => PlacementRef;
}

export class TelemetryPumps {
  readonly #op: Operation;
  readonly #what: Pumping;
  readonly #alerts: Alerts;
  /** Reading begins here where nothing was read before. */
  readonly #since = new Date().toISOString();
  /** Pumps so far, by whose stream they read. */
  readonly #pumps = new Map<string, number>();
  #scope: wf.CancellationScope | undefined;
  #running: Promise<unknown> = Promise.resolve();
  #way = '';
  /** Each makes the next one later: who forges redirects must not make the history long. */
  #alarms = 0;

  constructor(op: Operation, what: Pumping) {
    this.#op = op;
    this.#alerts = new Alerts((what) => op.board.record('run', what));
    this.#what = what;
  }

  /** What they are read by is taken back with everything else. */
  undoable(placements: readonly RecordedPlacement[]): void {
    for (const recorded of placements)
      this.#op.saga.add({
        step: `telemetry follower on ${recorded.provider}`,
        orphan: { provider: recorded.provider, kind: 'telemetry follower', name: this.#what.service },
        undo: async () => {
          await this.stop();
          return this.#remove(recorded);
        },
      });
  }

  /** Makes what they are read by. */
  async prepare(placements: readonly RecordedPlacement[]): Promise<void> {
    const { service, owner } = this.#what;
    for (const recorded of placements) {
      const placement = placementOf(owner, recorded);
      await this.#op.held(service, () =>
        cloud(recorded.provider, `telemetry follower of ${service}`).ensureTelemetryFollower({ placement }),
      );
    }
  }

  /** From now on what comes to `from` goes to `to`, and both are watched, until it is stopped. */
  async start(from: PlacementRef, to: PlacementRef): Promise<void> {
    const way = `${from.provider} ${to.provider}`;
    if (this.#scope && this.#way === way && !this.#scope.consideredCancelled) return;
    await this.stop();
    this.#way = way;
    const scope = new wf.CancellationScope();
    this.#scope = scope;
    this.#running = scope.run(() => Promise.all([this.#pump(from, to), this.#pump(to, null)])).catch(() => {});
  }

  async stop(): Promise<void> {
    this.#scope?.cancel();
    await this.#running;
    this.#scope = undefined;
  }

  /** Ends when nothing new comes to `from` any more; all of it is at `to` then. */
  async drain(from: PlacementRef, to: PlacementRef): Promise<void> {
    await this.stop();
    for (let before = -1, left = mostDrains; left > 0; left--) {
      const drained = await this.#op.held(this.#what.service, () => this.#follow(from, to, drainMs));
      this.#tellRefused(from, drained);
      if (drained.messages === before) return;
      before = drained.messages;
    }
  }

  /** Removes what they were read by. */
  async close(placements: readonly RecordedPlacement[]): Promise<void> {
    await this.stop();
    for (const one of placements) await this.#op.held(this.#what.service, () => this.#remove(one));
  }

  async #remove(recorded: RecordedPlacement): Promise<string> {
    await this.#alerts.settled();
    const { service, owner } = this.#what;
    const on = urgent(recorded.provider, `telemetry follower of ${service}`);
    return on.removeTelemetryFollower({ placement: placementOf(owner, recorded) });
  }

  async #pump(from: PlacementRef, to: PlacementRef | null): Promise<void> {
    for (let failed = false; ; )
      try {
        this.#tellRefused(from, await this.#follow(from, to, pumpMs));
        failed = false;
      } catch (error) {
        if (wf.isCancellation(error)) throw error;
        if (!failed) this.#op.board.record('run', `telemetry is not followed: ${reason(error)}`, from.provider);
        failed = true;
        await wf.sleep(againMs);
      }
  }

  /** Somebody may be trying to send the fleet elsewhere: people should look who writes to that registry. */
  #tellRefused({ provider }: PlacementRef, { refused = [] }: FollowedTelemetry): void {
    if (refused.length === 0) return;
    this.#alarms++;
    const { service } = this.#what;
    const at = Date.now();
    this.#alerts.tell({
      ...{ estate: this.#op.estate, service, event: 'begin', provider, at, refused: [...refused] },
      incident: `${service}.${provider}.${new Date(at).toISOString().replace(/[-:.]/g, '')}`,
      workflowId: wf.workflowInfo().workflowId,
    });
    const named = refused.slice(0, 5).map(({ device, reason: why }) => `${device} (${why})`);
    const detail = `${named.join(', ')}${refused.length > 5 ? ', …' : ''} on ${provider}`;
    this.#op.board.mark('refused redirects', { status: 'failed', detail });
    this.#op.board.record('run', `devices refused a redirect: ${detail}`, provider);
  }

  #follow(from: PlacementRef, to: PlacementRef | null, forMs: number): Promise<FollowedTelemetry> {
    const { service, name, epoch, keptAt } = this.#what;
    const pump = this.#pumps.get(from.provider) ?? 0;
    this.#pumps.set(from.provider, pump + 1);
    return watch(`telemetry of ${service} on ${from.provider}`, forMs + slackMs).followTelemetry({
      ...{ from, to, keptAt: keptAt(), name, epoch, pump, forMs, since: this.#since },
      alarmAfterMs: Math.min(forMs, firstAlarmMs * 2 ** this.#alarms),
    });
  }
}
