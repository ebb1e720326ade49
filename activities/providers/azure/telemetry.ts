/**
 * Telemetry on Azure: an event hub keeps what was read, so a follower is a consumer group, and where it has got to is ours to
 * remember. The worker may read the hub, and while it is followed write to it as well.
 */
import { hash } from 'node:crypto';
import { setTimeout as pause } from 'node:timers/promises';
import {
  type EventData,
  EventHubConsumerClient,
  EventHubProducerClient,
  type EventPosition,
  type ReceivedEventData,
} from '@azure/event-hubs';
import { CloudError } from '../../../model/errors.ts';
import type { JsonObject, Placement, ResourceSpec } from '../../../model/service.ts';
import { forwardMark } from '../../../model/telemetry-pump.ts';
import type { Call, ResourceDriver } from '../driver.ts';
import { outputOf } from '../object-store.ts';
import { followerName, Inbox, type Passing, type TelemetryBatch, type TelemetryDriver } from '../telemetry.ts';
import type { AzureClients } from './clients.ts';
import { closeSoon, namespaceName, type StreamLoad } from './event-hubs.ts';
import { eventHubDrivers } from './event-hubs-drivers.ts';
import { ownerOfScope, resourceGroupName } from './resource-group.ts';
import { roleAssignmentDriver, roleSpec, worker } from './role-assignment.ts';

const kind = 'azure.eventhub.follower';
const groupKind = 'azure.eventhub.consumer-group';
const hubName = 'telemetry';
/** Events that come together; batches that wait to be taken. */
const batch = 500;
const mostWaiting = 16;

/** A hub adds this to what a device sends; a device cannot, nor can it keep it away. */
const deviceKey = 'iothub-connection-device-id';

function passing({ systemProperties, body, enqueuedTimeUtc }: ReceivedEventData): Passing[] {
  const device: unknown = systemProperties?.[deviceKey];
  if (typeof device !== 'string' || !(body instanceof Uint8Array)) return [];
  return [{ device, body, at: enqueuedTimeUtc.getTime() }];
}

export function hubTelemetry(clients: AzureClients, callDeadlineMs: number): TelemetryDriver {
  const { credential } = clients;
  const retryOptions = { maxRetries: 0, timeoutInMs: callDeadlineMs };
  const hubOf = (placement: Parameters<TelemetryDriver['write']>[0]): [string, string] => [
    outputOf(placement, 'stream', 'namespace'),
    outputOf(placement, 'stream', 'hub'),
  ];

  return {
    design: (placement) => ({
      key: 'follower',
      kind,
      name: `${namespaceName(placement)}/${hubName}/${followerName.suffix}`,
      needs: [],
      holdsData: false,
      desired: { metadata: 'what pumps telemetry into another cloud', sends: true },
    }),

    read(placement, { position: saved, since }) {
      const inbox = new Inbox(mostWaiting);
      const position: JsonObject = { ...saved };
      const consumer = new EventHubConsumerClient(followerName.suffix, ...hubOf(placement), credential, {
        retryOptions: { timeoutInMs: callDeadlineMs },
      });
      const startOf = (partition: string): EventPosition => {
        const sequenceNumber = saved[partition];
        return typeof sequenceNumber === 'number' ? { sequenceNumber } : { enqueuedOn: since };
      };
      async function subscribe() {
        const partitions = await consumer.getPartitionIds();
        if (inbox.closed) return undefined;
        return consumer.subscribe(
          {
            async processEvents(events, context) {
              const last = events.at(-1);
              if (!last) return;
              await inbox.put({
                messages: events.flatMap(passing),
                receipt: [context.partitionId, String(last.sequenceNumber)],
              });
              // Where the client goes on by itself after it has lost the hub.
              await context.updateCheckpoint(last);
            },
            processError: async (error) => inbox.fail(error),
          },
          {
            startPosition: Object.fromEntries(partitions.map((one) => [one, startOf(one)])),
            maxBatchSize: batch,
            maxWaitTimeInSeconds: 1,
            skipParsingBodyAsJson: true,
          },
        );
      }
      let subscribing: ReturnType<typeof subscribe> | undefined;
      return {
        position,
        async read(waitMs, signal) {
          subscribing ??= subscribe().catch((error: unknown) => {
            subscribing = undefined;
            throw error;
          });
          const isReady = subscribing.then(() => true);
          const isLate = pause(waitMs, false, { signal }).catch(() => false);
          if (!(await Promise.race([isReady, isLate]))) return undefined;
          return inbox.take(waitMs, signal);
        },
        async done(batches: readonly TelemetryBatch[]) {
          for (const { receipt } of batches) {
            const [partition = '', sequence] = receipt;
            position[partition] = Number(sequence);
          }
        },
        stop: async () => inbox.close(),
        async close() {
          inbox.close();
          const subscription = { close: async () => (await subscribing)?.close() };
          await closeSoon(subscription, consumer);
        },
      };
    },

    write(placement) {
      const producer = new EventHubProducerClient(...hubOf(placement), credential, { retryOptions });
      let partitions: Promise<string[]> | undefined;
      /** What comes from one device stays in order. */
      async function partitionOf(device: string): Promise<string> {
        partitions ??= producer.getPartitionIds().catch((error: unknown) => {
          partitions = undefined;
          throw error;
        });
        const all = await partitions;
        return all[Number.parseInt(hash('sha1', device, 'hex').slice(0, 8), 16) % all.length] ?? '0';
      }
      async function send(partitionId: string, events: readonly EventData[], abortSignal: AbortSignal): Promise<void> {
        const begin = () => producer.createBatch({ partitionId, abortSignal });
        let current = await begin();
        for (const event of events) {
          if (current.tryAdd(event)) continue;
          await producer.sendBatch(current, { abortSignal });
          current = await begin();
          if (!current.tryAdd(event))
            throw new CloudError(
              { kind: 'InvalidInput', provider: 'azure', operation: 'send', resource: producer.eventHubName },
              'a message is larger than the event hub takes',
            );
        }
        await producer.sendBatch(current, { abortSignal });
      }
      return {
        async write(messages, signal) {
          const byPartition = new Map<string, EventData[]>();
          for (const { device, body } of messages) {
            const partition = await partitionOf(device);
            const events = byPartition.get(partition) ?? [];
            byPartition.set(partition, events);
            events.push({ body, properties: { [forwardMark]: device } });
          }
          await Promise.all([...byPartition].map(([partition, events]) => send(partition, events, signal)));
        },
        close: () => closeSoon(producer),
      };
    },
  };
}

/** A consumer group, which bears no tags: it belongs to whoever owns the namespace. And the right to write. */
export function followerDriver(clients: AzureClients, loadOf: (placement: Placement) => StreamLoad): ResourceDriver {
  const group = eventHubDrivers(clients, loadOf).find((driver) => driver.kind === groupKind);
  if (!group) throw new Error(`no driver of kind ${groupKind}`);
  const roles = roleAssignmentDriver(clients, (id, call) => ownerOfScope(clients, id, call));
  const roleOf = (placement: Placement): ResourceSpec =>
    roleSpec(placement, 'follower-sends', 'Azure Event Hubs Data Sender', 'stream', worker);
  const atHub = (call: Call): Call => {
    const { placement } = call;
    const id = `/subscriptions/${placement.account}/resourceGroups/${resourceGroupName(placement)}/providers/Microsoft.EventHub/namespaces/${namespaceName(placement)}/eventhubs/${hubName}`;
    return { ...call, needs: { stream: { id } } };
  };

  return {
    kind,
    immutable: [],

    async observe(spec, call) {
      const seen = await group.observe(spec, call);
      if (!seen) return undefined;
      const role = await roles.observe(roleOf(call.placement), atHub(call));
      return { ...seen, properties: { ...seen.properties, sends: role?.properties.holder === worker } };
    },

    // The right to write is given by the update that follows.
    create: (spec, call) => group.create(spec, call),

    async update(spec, observed, drift, call) {
      if (drift.includes('metadata')) await group.update(spec, observed, drift, call);
      if (!drift.includes('sends')) return;
      const wanted = roleOf(call.placement);
      const role = await roles.observe(wanted, atHub(call));
      if (role) await roles.update(wanted, role, [], atHub(call));
      else await roles.create(wanted, atHub(call));
    },

    async remove(spec, observed, call) {
      const wanted = roleOf(call.placement);
      const role = await roles.observe(wanted, atHub(call));
      if (role) await roles.remove(wanted, role, atHub(call));
      await group.remove(spec, observed, call);
    },

    list: group.list,
  };
}
