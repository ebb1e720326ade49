/**
 * The incidents of a replicated service: hears the lag of each direction, and tells each channel once that an incident has
 * begun and once that it has ended, in the background and for as long as the channel is away.
 */
import * as wf from '@temporalio/workflow';
import type { Alert, ChannelId, Delivery, HandedIncidents, WatchedDirection } from '../model/alert.ts';
import {
  type Incident,
  type IncidentRule,
  incidentId,
  type LagDirection,
  observe,
  type Watched,
} from '../model/incident.ts';
import { control, notify } from './calls.ts';
import { reason } from './progress.ts';

/** An answer that was lost is worth one repeat, not two, and not at once: who does not answer is in trouble. */
const mostLost = 2;
const repeatAfterMs = 5 * 60_000;

export interface IncidentsOf {
  estate: string;
  service: string;
  rule: IncidentRule;
  /** Hears what was told to whom, for the audit trail. */
  note: (what: string) => void;
}

const nameOf = ({ from, to }: LagDirection): string => `${from}>${to}`;

export class Incidents {
  #of: IncidentsOf;
  readonly #watched = new Map<string, WatchedDirection>();
  /** Directions of which a timer waits for what comes next. */
  readonly #awaited = new Set<string>();
  readonly #alerts = new Set<Alert>();
  readonly #deliveries = new Set<Delivery>();
  /** What is told one after the other, by incident and by channel: the end after the begin. */
  readonly #queues = new Map<string, Promise<void>>();
  /** Ends with `handOver` only: who cancels the run does not take back what is on its way. */
  readonly #telling = wf.CancellationScope.nonCancellable(async () => new wf.CancellationScope());

  /** `handed`: what `handOver` of the run before has answered. */
  constructor(of: IncidentsOf, handed?: HandedIncidents) {
    this.#of = of;
    for (const one of handed?.directions ?? []) {
      this.#watched.set(nameOf(one.direction), one);
      void this.#decideLater(nameOf(one.direction));
    }
    for (const delivery of handed?.deliveries ?? []) this.#deliver(delivery);
    for (const alert of handed?.alerts ?? []) this.#tell(alert);
  }

  /** One observation of one direction, now. Until there is another one, the lag is taken to be what it was. */
  observe(direction: LagDirection, lagMs: number): void {
    const { rule, service } = this.#of;
    const before = this.#watched.get(nameOf(direction))?.watched ?? { is: 'calm' };
    const idOf = (begunAt: number): string => incidentId(service, direction, begunAt);
    const { watched, event } = observe(rule, before, { lagMs, at: Date.now() }, idOf);
    this.#watched.set(nameOf(direction), { direction, watched, lagMs });
    const incident = event === 'end' ? incidentOf(before) : incidentOf(watched);
    if (event && incident) this.#tell(this.#alert(direction, incident, event, lagMs));
    void this.#decideLater(nameOf(direction));
  }

  /** From the next observation on. */
  obey(rule: IncidentRule): void {
    this.#of = { ...this.#of, rule };
  }

  /** Incidents that are open. */
  get open(): { direction: LagDirection; incident: Incident }[] {
    return [...this.#watched.values()].flatMap(({ direction, watched }) => {
      const incident = incidentOf(watched);
      return incident ? { direction, incident } : [];
    });
  }

  /** Ends the open incidents, since nobody observes any more; waits for what is on its way, but no longer than this. */
  async end(why: string, waitMs: number): Promise<void> {
    for (const { direction, incident } of this.open)
      this.#tell({ ...this.#alert(direction, incident, 'end', incident.worstMs), why });
    this.#watched.clear();
    await wf.CancellationScope.nonCancellable(() => wf.condition(() => this.#isQuiet, waitMs));
    const { deliveries } = await this.handOver();
    for (const { alert, channel } of deliveries)
      this.#of.note(`${channel} was not told of the ${alert.event} of ${alert.incident}: the run has ended`);
  }

  /** Before a continue-as-new: stops telling, within a minute, and answers what the next run goes on with. */
  async handOver(): Promise<HandedIncidents> {
    (await this.#telling).cancel();
    await wf.CancellationScope.nonCancellable(() => Promise.all(this.#queues.values()));
    return {
      directions: [...this.#watched.values()],
      alerts: [...this.#alerts],
      deliveries: [...this.#deliveries],
    };
  }

  /** Whether a lag has been high, or low, for long enough is decided then, also where nobody observes meanwhile. */
  async #decideLater(name: string): Promise<void> {
    if (this.#awaited.has(name)) return;
    this.#awaited.add(name);
    try {
      for (let due = this.#due(name); due !== undefined; due = this.#due(name)) {
        const waitMs = due - Date.now();
        if (waitMs > 0) await (await this.#telling).run(() => wf.sleep(waitMs));
        const one = this.#watched.get(name);
        if (waitMs <= 0 && one) this.observe(one.direction, one.lagMs);
      }
    } catch (error) {
      if (!wf.isCancellation(error)) throw error;
    } finally {
      this.#awaited.delete(name);
    }
  }

  #due(name: string): number | undefined {
    const { rule } = this.#of;
    const watched = this.#watched.get(name)?.watched;
    if (watched?.is === 'rising') return watched.since + rule.beginsAfterMs;
    return watched?.is === 'falling' ? watched.since + rule.endsAfterMs : undefined;
  }

  get #isQuiet(): boolean {
    return this.#alerts.size === 0 && this.#deliveries.size === 0;
  }

  #alert(direction: LagDirection, incident: Incident, event: Alert['event'], lagMs: number): Alert {
    const { estate, service, rule } = this.#of;
    const { id, begunAt, worstMs } = incident;
    return {
      ...{ estate, service, incident: id, event, direction, lagMs, begunAt },
      ...{ at: Date.now(), thresholdMs: rule.thresholdMs, worstMs: Math.max(worstMs, lagMs) },
      workflowId: wf.workflowInfo().workflowId,
    };
  }

  #tell(alert: Alert): void {
    this.#alerts.add(alert);
    this.#inTurn(alert.incident, async () => {
      const channels = await this.#channels(alert);
      this.#alerts.delete(alert);
      for (const channel of channels) this.#deliver({ alert, channel, lost: 0 });
    });
  }

  async #channels({ event, incident }: Alert): Promise<ChannelId[]> {
    try {
      return await control.alertChannels({ estate: this.#of.estate });
    } catch (error) {
      if (wf.isCancellation(error)) throw error;
      this.#of.note(`nobody was told of the ${event} of ${incident} (${reason(error)})`);
      return [];
    }
  }

  #deliver(delivery: Delivery): void {
    this.#deliveries.add(delivery);
    const { alert, channel } = delivery;
    const about = `the ${alert.event} of ${alert.incident}`;
    this.#inTurn(`${alert.incident} ${channel}`, async () => {
      const told = await this.#send(delivery, `${channel}: ${about}`);
      this.#deliveries.delete(delivery);
      this.#of.note(`${channel} ${told} of ${about}`);
    });
  }

  /** How it went, as the audit trail says it. */
  async #send(delivery: Delivery, summary: string): Promise<string> {
    const { alert, channel } = delivery;
    try {
      for (;;) {
        const sent = await notify(summary).sendAlert({ channel, alert });
        if (sent.how === 'sent') return 'was told';
        if (sent.how === 'gone') return 'is in the estate file no more and was not told';
        if (++delivery.lost >= mostLost) return `has not said whether it was told (${sent.why})`;
        await wf.sleep(repeatAfterMs);
      }
    } catch (error) {
      if (wf.isCancellation(error)) throw error;
      return `was not told (${reason(error)})`;
    }
  }

  /** After what is under way of the same name; what is cancelled stays for the next run. */
  #inTurn(name: string, act: () => Promise<void>): void {
    const turn = async (before: Promise<void> | undefined): Promise<void> => {
      await before;
      try {
        await (await this.#telling).run(act);
      } catch (error) {
        if (!wf.isCancellation(error)) throw error;
      }
    };
    const queued = turn(this.#queues.get(name)).finally(() => {
      if (this.#queues.get(name) === queued) this.#queues.delete(name);
    });
    this.#queues.set(name, queued);
  }
}

const incidentOf = (watched: Watched): Incident | undefined =>
  watched.is === 'incident' || watched.is === 'falling' ? watched.incident : undefined;
