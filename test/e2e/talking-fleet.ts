/**
 * A fleet of the sample agent that talks to a service on a local cloud, and somebody who reads what it says: for tests that move it
 * and want to know whether every acknowledged message arrived, once, and each device was on one cloud at a time.
 */
import { mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import type { Client } from '@temporalio/client';
import { type AgentEvent, DeviceAgent, usualTimes } from '../../client/device-agent/agent.ts';
import type { EstateClient, OperationHandle } from '../../client/index.ts';
import type { WaitingFor } from '../../model/decisions.ts';
import { type DeviceEndpoint, deviceEndpoint } from '../../model/device-endpoint.ts';
import type { ProviderType } from '../../model/service.ts';
import { type PlacementRef, placementRef } from '../../model/transfer.ts';
import { until } from '../device-agent/keys.ts';
import { authoritiesFile, suffixes } from '../device-agent/places.ts';
import { fill, type Identity, identity, type Wanted } from '../fleet/fleets.ts';
import { localRun } from '../local/stack.ts';
import { FleetReader } from './fleet-readers.ts';

export class Device {
  readonly id: string;
  readonly events: (AgentEvent & { at: number })[] = [];
  readonly #agent: DeviceAgent;
  readonly #running: Promise<void>;
  readonly #timer: NodeJS.Timeout;

  constructor(id: string, { pem, key }: Identity, { endpoint, estate, folder }: Place) {
    const [current, next] = localRun().redirectPins ?? ['', ''];
    this.id = id;
    mkdirSync(join(folder, id), { recursive: true });
    this.#agent = new DeviceAgent({
      ...{ estate, device: id, certificate: pem, key, cohorts: [], pins: [current, next], suffixes, endpoint },
      authorities: [readFileSync(authoritiesFile(), 'utf8')],
      stateFile: join(folder, id, 'state.json'),
      outbox: { limit: 1000 },
      times: { ...usualTimes, connectMs: 10_000, trialMs: 30_000, returnMs: 2000, retryMs: 300 },
      onEvent: (event) => this.events.push({ at: Date.now(), ...event }),
    });
    this.#running = this.#agent.run();
    this.#timer = setInterval(() => this.#agent.send({ temperature: 21.5 }), 1000);
  }

  /** Where it is connected now. */
  get dialect(): string {
    const last = this.events.findLast(({ event }) => event === 'connected' || event === 'closed');
    return last?.event === 'connected' ? last.dialect : '';
  }

  get acknowledged(): string[] {
    return this.events.flatMap((one) => (one.event === 'acknowledged' ? [one.key] : []));
  }

  /** Says nothing more, and ends when all was acknowledged. */
  async end(): Promise<void> {
    clearInterval(this.#timer);
    await until(`${this.id} has nothing left to say`, () => this.#agent.waiting.messages === 0, 120_000);
    await this.stop();
  }

  async stop(): Promise<void> {
    clearInterval(this.#timer);
    this.#agent.stop();
    await this.#running;
  }
}

interface Place {
  endpoint: DeviceEndpoint;
  /** Name of the estate. */
  estate: string;
  /** Where devices keep what they must not forget. */
  folder: string;
}

export const serviceOn = (preferred: string[]) => ({
  ...{ type: 'iot_core', redundancy: 1, preferred_providers: preferred, protect: false },
});

export interface TalkingFleet {
  source: Place & { ref: PlacementRef };
  identities: Identity[];
  fleet: Device[];
  reader: FleetReader;
}

/** More at once would be seconds of TLS handshakes. */
const startsPerSecond = 40;

export const placesOf = (fleet: readonly Device[]): string[] => [...new Set(fleet.map(({ dialect }) => dialect))];

export class TalkingFleets {
  readonly #client: Client;
  readonly #estate: EstateClient;
  readonly #namespace: string;
  readonly #folder: string;
  /** Plans of the questions that were asked before. */
  readonly #known = new Set<string>();
  /** What a test that failed has left running. */
  readonly open: { stop(): Promise<void> }[] = [];

  constructor({
    client,
    estate,
    namespace,
    folder,
  }: {
    client: Client;
    estate: EstateClient;
    namespace: string;
    folder: string;
  }) {
    this.#client = client;
    this.#estate = estate;
    this.#namespace = namespace;
    this.#folder = folder;
  }

  async stop(): Promise<void> {
    await Promise.all(this.open.map((one) => one.stop()));
  }

  /** The service on its source, with a fleet that talks, and somebody who reads what it says. */
  async running(
    service: string,
    from: ProviderType,
    count: number,
    more: (n: number) => Partial<Wanted> = () => ({}),
  ): Promise<TalkingFleet> {
    const deployed = await this.#estate.deployService(service, {
      file: { services: { [service]: serviceOn([from]) } },
    });
    expect(await deployed.result()).toMatchObject({ outcome: 'done', placements: [{ provider: from }] });
    const source = await this.placed(service, from);
    const identities = await Promise.all(Array.from({ length: count }, (_, n) => identity(`${service}-${n}`)));
    const wanted = identities.map(
      (own, n): Wanted => ({ id: `${service}-${n}`, identity: own, groups: ['pumps'], ...more(n) }),
    );
    await fill[from](source.ref, [...wanted, { id: `${service}-off`, status: 'disabled' }]);
    const reader = new FleetReader(this.#estate, service);
    this.open.push(reader);
    const fleet: Device[] = [];
    for (const [n, { id }] of wanted.entries()) {
      const device = new Device(id, identities[n] as Identity, source);
      fleet.push(device);
      this.open.push(device);
      if (n % startsPerSecond === startsPerSecond - 1) await setTimeout(1000);
    }
    await until('all talk', () => fleet.every(({ acknowledged }) => acknowledged.length > 3), 120_000);
    return { source, identities, fleet, reader };
  }

  /** Waits until a run asks this, and nothing else. */
  async asked(handle: OperationHandle, question: string): Promise<WaitingFor> {
    for (;;) {
      const { waitingFor, blocked } = await handle.progress();
      // One that was answered a moment ago may still be shown.
      const open = waitingFor.filter(({ plan }) => !this.#known.has(plan));
      const one = open.find((each) => each.question === question);
      if (one) {
        this.#known.add(one.plan);
        return one;
      }
      if (open.length > 0 || blocked) throw new Error(blocked ?? open[0]?.text);
      const { status } = await this.#client.workflow.getHandle(handle.workflowId).describe();
      if (status.name !== 'RUNNING') await handle.result();
      await setTimeout(100);
    }
  }

  async remove(service: string): Promise<void> {
    const removed = await this.#estate.remove({ service, confirm: `${this.#estate.name}/${service}` });
    expect(await removed.result()).toMatchObject({ outcome: 'done', orphans: [] });
  }

  async placed(service: string, provider: string): Promise<TalkingFleet['source']> {
    const [record, { uid = '' } = {}] = await Promise.all([this.#estate.service(service), this.#estate.estate()]);
    const found = record?.placements.find((one) => one.provider === provider);
    const { name: estate } = this.#estate;
    const endpoint = found && deviceEndpoint({ placement: found, estate, uid, service });
    if (!found || !endpoint) throw new Error(`${service} is not on ${provider}`);
    const { namespaceInfo } = await this.#client.workflowService.describeNamespace({ namespace: this.#namespace });
    const ref = placementRef({ estate, service, uid, controller: namespaceInfo?.id ?? '' }, found);
    return { ref, endpoint, estate, folder: this.#folder };
  }
}

/** Each message that a cloud has acknowledged came once, and each device was on one cloud at a time. */
export async function expectAll({ fleet, reader }: TalkingFleet, others: readonly Device[] = []): Promise<void> {
  await Promise.all(fleet.map((device) => device.end()));
  const keys = [...fleet, ...others].flatMap(({ acknowledged }) => acknowledged);
  await until('all has arrived', () => keys.every((key) => reader.delivered.has(key)));
  expect(keys.filter((key) => reader.delivered.get(key) !== 1)).toEqual([]);
  await reader.stop();
  for (const { events } of fleet) {
    const moves = events.flatMap(({ event }) => (event === 'connected' || event === 'closed' ? [event] : []));
    expect(moves).toEqual(moves.map((_, n) => (n % 2 === 0 ? 'connected' : 'closed')));
    expect(events.filter(({ event }) => event === 'refused')).toEqual([]);
  }
}
