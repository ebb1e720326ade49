/** Telemetry on Google Cloud: a follower is a subscription of its own, which is not told of what a pump has published. */
import { resourceName } from '../../../model/names.ts';
import type { Placement } from '../../../model/service.ts';
import { forwardMark } from '../../../model/telemetry-pump.ts';
import type { ResourceDriver } from '../driver.ts';
import { outputOf } from '../object-store.ts';
import { Fetching, followerName, type Passing, requestsOf, type TelemetryDriver } from '../telemetry.ts';
import { type Clients, once } from './clients.ts';
import { abortable } from './compute-resource.ts';
import { isTimeout } from './errors.ts';
import { subscriptionDriver, subscriptionSpec } from './subscription.ts';

const kind = 'gcp.pubsub.follower';
/** The longest that a subscription keeps what nobody fetches: a pump may stand still while a person is waited for. */
const retentionDays = 31;
/** Until what was received and not done with comes again, seconds. */
const hiddenSeconds = 30;
const waitMs = 5000;
const readersAtOnce = 2;
/** Pub/Sub gives and takes no more at once: https://cloud.google.com/pubsub/quotas#resource_limits. */
const batch = 1000;
const requestBytes = 7 * 1024 * 1024;

const nameOf = (placement: Placement): string => resourceName(placement, { limit: 255, suffix: followerName.suffix });

export const followerDriver = (clients: Pick<Clients, 'project' | 'pubsub'>): ResourceDriver =>
  subscriptionDriver(clients, kind, followerName.is);

export function topicTelemetry({ project, pubsub }: Pick<Clients, 'project' | 'pubsub'>): TelemetryDriver {
  return {
    design(placement) {
      const { desired } = subscriptionSpec(placement, retentionDays);
      return {
        key: 'follower',
        kind,
        name: nameOf(placement),
        needs: [],
        holdsData: false,
        desired: { ...desired, ackDeadlineSeconds: hiddenSeconds, filter: `NOT attributes:${forwardMark}` },
      };
    },

    read(placement) {
      const subscription = `projects/${project}/subscriptions/${nameOf(placement)}`;
      const fetching = new Fetching(readersAtOnce, async (signal) => {
        const { subscriptions } = await pubsub();
        // Pub/Sub itself ends a wait; what it would have handed to one that was given up comes again later.
        const pulling = subscriptions.pull({ subscription, maxMessages: batch }, { ...once, timeout: waitMs });
        const [{ receivedMessages }] = await abortable(signal, pulling).catch((error: unknown) => {
          if (isTimeout(error)) return [{ receivedMessages: [] }];
          throw error;
        });
        const received = receivedMessages ?? [];
        if (received.length === 0) return undefined;
        const messages = received.flatMap(({ message }): Passing[] => {
          // The broker's own word: it alone publishes here, but for pumps.
          const device = message?.attributes?.deviceId;
          if (!device) return [];
          const { seconds, nanos } = message.publishTime ?? {};
          const at = Number(String(seconds ?? 0)) * 1000 + Math.floor(Number(nanos ?? 0) / 1e6);
          return [{ device, body: Buffer.from(message.data ?? ''), at }];
        });
        return { messages, receipt: received.map(({ ackId }) => ackId ?? '') };
      });
      return {
        position: {},
        read: (within, signal) => fetching.inbox.take(within, signal),
        async done(batches, signal) {
          const { subscriptions } = await pubsub();
          const receipts = batches.flatMap(({ receipt }) => receipt);
          for (const ackIds of requestsOf(receipts, { most: batch, bytes: Number.POSITIVE_INFINITY, sizeOf: () => 1 }))
            await abortable(signal, subscriptions.acknowledge({ subscription, ackIds }, once));
        },
        close: () => fetching.close(),
      };
    },

    write(placement) {
      const topic = outputOf(placement, 'telemetry', 'topic');
      return {
        async write(all, signal) {
          const { topics } = await pubsub();
          const sizeOf = ({ body }: Passing) => Math.ceil(body.length / 3) * 4 + 500;
          for (const some of requestsOf(all, { most: batch, bytes: requestBytes, sizeOf })) {
            const messages = some.map(({ device, body }) => ({
              data: body,
              attributes: { deviceId: device, [forwardMark]: device },
            }));
            await abortable(signal, topics.publish({ topic, messages }, once));
          }
        },
        async close() {},
      };
    },
  };
}
