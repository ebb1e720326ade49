/**
 * A device, as firmware should be written: it keeps its key, says each thing until it is acknowledged, goes where a signed
 * redirect sends it, and comes back where it is not well there. A power cut at any point leaves it on the way it was on.
 *
 *     const agent = new DeviceAgent({ … });
 *     agent.send({ temperature: 21.5 });
 *     await agent.run(); // until stop()
 *
 * The switch, in this order, since a device is connected to one cloud only:
 *
 * 1. The redirect is verified (`model/device-redirect.ts`). A refused one is reported where the device is, and nothing else happens.
 * 2. The target and the redirect's sequence are written down: from here on a restart goes on with 4.
 * 3. What is under way is taken in for a moment, the rest stays in the outbox, and the old cloud is left.
 * 4. The target must acknowledge a message within `trialMs`. Only then the old place is forgotten.
 * 5. Otherwise the device waits for a random part of `returnMs`, so that a fleet does not come back at once, and goes on where
 *    it was well last. The same redirect is not followed again; one with a higher sequence is.
 *
 * Asked for a certificate request (`model/device-claim.ts`) it writes down a key of its own making, and sends what that has signed. The
 * certificate comes with a redirect and is used where that goes; the one that the device was built with stays for where it came from.
 */
import { createHash, X509Certificate } from 'node:crypto';
import { setTimeout } from 'node:timers/promises';
import { claimAbility, verifyClaim } from '../../model/device-claim.ts';
import { type DeviceEndpoint, messageKey } from '../../model/device-endpoint.ts';
import {
  claimProperty,
  type RedirectRules,
  type Refusal,
  redirectProperty,
  verifyRedirect,
} from '../../model/device-redirect.ts';
import type { JsonObject } from '../../model/service.ts';
import { claimedWith, newKey, requestOf } from './claim.ts';
import { Outbox } from './outbox.ts';
import { type Identity, Session, type SessionTimes } from './session.ts';
import { type AgentState, StateFile } from './state.ts';

export interface AgentTimes extends SessionTimes {
  /** How long a target has to acknowledge something before the device goes back. */
  trialMs: number;
  /** Longest wait before it is back where it was well, and between two tries to connect. */
  returnMs: number;
  /** First wait between two tries to connect; doubles. Each is a random part of itself. */
  retryMs: number;
  /** How long what is under way is waited for before a cloud is left. */
  drainMs: number;
}

export const usualTimes: AgentTimes = {
  connectMs: 20_000,
  acknowledgeMs: 30_000,
  trialMs: 120_000,
  returnMs: 60_000,
  retryMs: 1000,
  drainMs: 2000,
};

/** Starts that a trial survives: then the device goes back, whatever made it restart. */
const maxTrialStarts = 3;
/** Refused redirects that are reported in one life: enough to raise an alarm, too few to be used to make it talk. */
const maxReports = 20;
/** Certificates that it keeps besides the one that it was built with. */
const maxClaimed = 3;
/** Of this program: what it says of itself. */
const version = '1.1';
const dialects: DeviceEndpoint['dialect'][] = ['aws', 'azure', 'gcp'];

export type AgentEvent =
  | { event: 'started'; boot: number }
  | { event: 'connected'; dialect: DeviceEndpoint['dialect']; host: string; trial: boolean }
  | { event: 'closed'; host: string }
  | { event: 'acknowledged'; key: string }
  | { event: 'refused'; reason: Refusal }
  | { event: 'claiming' | 'claimed'; sequence: number }
  | { event: 'verified' | 'taken' | 'left' | 'proved' | 'settled' | 'returning'; sequence: number };

export interface AgentOptions {
  estate: string;
  device: string;
  /** PEM. */
  certificate: string;
  /** PEM. */
  key: string;
  cohorts: readonly string[];
  pins: RedirectRules['pins'];
  suffixes: readonly string[];
  /** PEM of the authorities built into it. */
  authorities: readonly string[];
  /** Where it goes that has never been anywhere. */
  endpoint: DeviceEndpoint;
  stateFile: string;
  outbox: { limit: number; file?: string | undefined };
  times?: AgentTimes;
  onEvent?: (event: AgentEvent) => void;
}

export class DeviceAgent {
  readonly #state: StateFile;
  readonly #outbox: Outbox;
  readonly #identity: Identity;
  readonly #rules: RedirectRules;
  readonly #times: AgentTimes;
  readonly #tell: (event: AgentEvent) => void;
  readonly #boot: number;
  readonly #stop = new AbortController();
  readonly #reported = new Set<string>();
  /** Sequence of the last claim that it has answered in this life. */
  #answered = 0;
  #session: Session | undefined;
  #sequence = 0;
  #failures = 0;
  /** Connections that were refused or cut off since it was connected last; told once it is again. */
  #troubles = 0;

  constructor(options: AgentOptions) {
    const { estate, device, certificate, key, cohorts, pins, suffixes, endpoint, stateFile, outbox } = options;
    const authorities = new Map(options.authorities.map((pem) => [sha256(new X509Certificate(pem).raw), pem]));
    this.#state = new StateFile(stateFile, endpoint);
    this.#outbox = new Outbox(outbox);
    this.#identity = { device, certificate, key, authorities };
    this.#rules = { estate, device, cohorts, pins, suffixes, authorities: [...authorities.keys()] };
    this.#times = options.times ?? usualTimes;
    this.#tell = options.onEvent ?? (() => {});
    const { boots, trial } = this.#state.now;
    this.#boot = boots + 1;
    this.#state.save({ boots: this.#boot, trial: trial && { ...trial, starts: trial.starts + 1 } });
    this.#tell({ event: 'started', boot: this.#boot });
  }

  /** Messages that no broker has acknowledged yet, and those that had to make room for others. */
  get waiting(): { messages: number; dropped: number } {
    return { messages: this.#outbox.size, dropped: this.#outbox.dropped };
  }

  /** Keeps a message until a broker has acknowledged it. Its key, which this returns, stands in it as `key`. */
  send(data: JsonObject): string {
    const key = messageKey({ device: this.#rules.device, boot: this.#boot, sequence: ++this.#sequence });
    this.#outbox.add(key, JSON.stringify({ ...data, key }));
    this.#session?.send();
    return key;
  }

  stop(): void {
    this.#stop.abort();
  }

  /** Ends after `stop`, and never throws for what a network or a cloud does. */
  async run(): Promise<void> {
    while (!this.#stop.signal.aborted) {
      const { trial, good, goodAs } = this.#state.now;
      const session = trial ? await this.#try(trial) : await this.#open(good, goodAs);
      if (session) await this.#stay(session);
    }
  }

  /** Until it is told to go elsewhere, cut off, or stopped. */
  async #stay(session: Session): Promise<void> {
    const going = Promise.withResolvers<void>();
    this.#stop.signal.addEventListener('abort', () => going.resolve(), { once: true });
    session.onDesired(({ [redirectProperty]: message, [claimProperty]: claim }) => {
      if (typeof message === 'string' && this.#take(message)) going.resolve();
      else if (typeof claim === 'string') this.#claim(claim);
    });
    const cutOff = await Promise.race([going.promise.then(() => false), session.closed.then(() => true)]);
    if (cutOff) this.#troubles++;
    this.#session = undefined;
    await session.leave(this.#times.drainMs);
    const { good, trial, sequence } = this.#state.now;
    this.#tell({ event: 'closed', host: good.host });
    if (trial) this.#tell({ event: 'left', sequence });
    else await this.#pause();
  }

  /** Whether this is a redirect to follow; it is written down then. */
  #take(message: string): boolean {
    const { sequence: lastSequence, taken } = this.#state.now;
    const digest = sha256(message);
    if (digest === taken) return false;
    const verdict = verifyRedirect({ message, rules: this.#rules, lastSequence });
    if ('refused' in verdict) return this.#refuse(digest, verdict.refused);
    const { sequence, endpoint, certificate } = verdict.redirect;
    const { claim, claimed = [] } = this.#state.now;
    const { device } = this.#rules;
    const own = certificate === undefined ? undefined : claimedWith({ device, der: certificate, claim, claimed });
    if (certificate !== undefined && !own) return this.#refuse(digest, 'certificate');
    this.#tell({ event: 'verified', sequence });
    const rest = claimed.filter(({ thumbprint }) => thumbprint !== own?.thumbprint);
    // All of it in one write: a power cut finds either no certificate and the key, or both where it is about to go.
    this.#state.save({
      ...{ sequence, taken: digest, trial: { endpoint, starts: 0, ...(own && { as: own.thumbprint }) } },
      ...(own && { claim: undefined, claimed: [own, ...rest].slice(0, maxClaimed) }),
    });
    this.#tell({ event: 'taken', sequence });
    return true;
  }

  #refuse(digest: string, reason: Refusal): false {
    if (this.#reported.has(digest) || this.#reported.size >= maxReports) return false;
    this.#reported.add(digest);
    this.#tell({ event: 'refused', reason });
    this.send({ event: 'redirect-refused', reason, digest });
    return false;
  }

  /** Answers once a life, since what waits in its memory is lost with its power; with one key until that has its certificate. */
  #claim(message: string): void {
    const { sequence: lastSequence, claim: known } = this.#state.now;
    const digest = sha256(message);
    if (digest !== known?.taken) {
      const verdict = verifyClaim({ message, rules: this.#rules, lastSequence });
      if ('refused' in verdict) {
        this.#refuse(digest, verdict.refused);
        return;
      }
      const { sequence } = verdict.claim;
      this.#state.save({ sequence, claim: { taken: digest, sequence, key: known?.key ?? newKey() } });
      this.#tell({ event: 'claiming', sequence });
    }
    const { claim } = this.#state.now;
    if (!claim || claim.sequence <= this.#answered) return;
    const { sequence } = claim;
    this.#answered = sequence;
    requestOf({ device: this.#rules.device, key: claim.key }).then(
      (csr) => {
        this.send({ event: 'claim', sequence, csr });
        this.#tell({ event: 'claimed', sequence });
      },
      () => {
        this.#answered = 0; // the cloud tells it again
      },
    );
  }

  /** Who it may be there, the likeliest first: as what came with the redirect; as it was there before; as it is where it was well. */
  #candidates({ endpoint, as }: { endpoint: DeviceEndpoint; as?: string | undefined }): (string | undefined)[] {
    if (as !== undefined) return [as];
    const { goodAs, before, claimed = [] } = this.#state.now;
    const known = before?.host === endpoint.host ? [before.as] : [];
    return [...new Set([...known, goodAs, ...claimed.map(({ thumbprint }) => thumbprint), undefined])];
  }

  #as(thumbprint: string | undefined): Identity {
    const own = this.#state.now.claimed?.find((one) => one.thumbprint === thumbprint);
    return own ? { ...this.#identity, certificate: own.certificate, key: own.key } : this.#identity;
  }

  /** At the target, where it is well there; undefined after it has decided to go back, or was stopped. */
  async #try(trial: NonNullable<AgentState['trial']>): Promise<Session | undefined> {
    const { endpoint, starts } = trial;
    const { sequence, good, goodAs } = this.#state.now;
    const candidates = this.#candidates(trial);
    const deadline = Date.now() + this.#times.trialMs;
    this.#failures = 0;
    this.send({ event: 'arrived', redirect: sequence });
    for (let tries = 0; starts < maxTrialStarts && Date.now() < deadline && !this.#stop.signal.aborted; tries++) {
      const as = candidates[tries % candidates.length];
      const session = await this.#open(endpoint, as);
      if (!session) continue;
      const proved = await Promise.race([session.proved, this.#sleep(deadline - Date.now()).then(() => false)]);
      if (proved) {
        this.#tell({ event: 'proved', sequence });
        this.#state.save({ good: endpoint, goodAs: as, before: { host: good.host, as: goodAs }, trial: undefined });
        this.#tell({ event: 'settled', sequence });
        return session;
      }
      this.#session = undefined;
      await session.leave(0);
      this.#tell({ event: 'closed', host: endpoint.host });
      await this.#pause();
    }
    if (this.#stop.signal.aborted) return undefined;
    this.#state.save({ trial: undefined });
    this.#tell({ event: 'returning', sequence });
    this.send({ event: 'returned', redirect: sequence });
    this.#failures = 0;
    await this.#sleep(Math.random() * this.#times.returnMs);
    return undefined;
  }

  /** One try to connect; it has waited where that failed. */
  async #open(endpoint: DeviceEndpoint, as: string | undefined): Promise<Session | undefined> {
    try {
      this.#session = await Session.open({
        endpoint,
        identity: this.#as(as),
        outbox: this.#outbox,
        times: this.#times,
        onAcknowledged: (key) => {
          this.#failures = 0;
          this.#tell({ event: 'acknowledged', key });
        },
      });
    } catch {
      this.#troubles++;
      await this.#pause();
      return undefined;
    }
    if (this.#troubles > 0) this.send({ event: 'reconnected', failed: this.#troubles });
    this.#troubles = 0;
    const { dialect, host } = endpoint;
    this.#session.report({ agent: { version, dialects, suffixes: [...this.#rules.suffixes], can: [claimAbility] } });
    this.#tell({ event: 'connected', dialect, host, trial: this.#state.now.trial !== undefined });
    return this.#session;
  }

  /** Before the next try: a random part of a time that doubles. */
  async #pause(): Promise<void> {
    const { retryMs, returnMs } = this.#times;
    await this.#sleep(Math.random() * Math.min(returnMs, retryMs * 2 ** this.#failures++));
  }

  async #sleep(ms: number): Promise<void> {
    await setTimeout(ms, undefined, { signal: this.#stop.signal }).catch(() => {});
  }
}

const sha256 = (bytes: string | Buffer): string => createHash('sha256').update(bytes).digest('hex');
