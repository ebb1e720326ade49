/** Telemetry on Google Cloud: a follower is a subscription of its own, which is not told of what a pump has published. */
import { z } from 'zod';
import { resourceName } from '../../../model/names.ts';
import type { Placement } from '../../../model/service.ts';
import { forwardMark } from '../../../model/telemetry-pump.ts';
import type { ResourceDriver } from '../driver.ts';
import { outputOf } from '../object-store.ts';
import { type PooledHttp, textOf } from '../pooled-http.ts';
import { Fetching, followerName, type Passing, requestsOf, type TelemetryDriver } from '../telemetry.ts';
import { type Clients, once } from './clients.ts';
import { abortable } from './compute-resource.ts';
import { failure } from './object-store.ts';
import { subscriptionDriver, subscriptionSpec } from './subscription.ts';

const kind = 'gcp.pubsub.follower';
/** The longest that a subscription keeps what nobody fetches: a pump may stand still while a person is waited for. */
const retentionDays = 31;
/** Until what was received and not done with comes again, seconds. */
const hiddenSeconds = 30;
/** Pub/Sub may wait for longer. */
const waitMs = 10_000;
const readersAtOnce = 2;
/** Pub/Sub gives and takes no more at once: https://cloud.google.com/pubsub/quotas#resource_limits. */
const batch = 1000;
const requestBytes = 7 * 1024 * 1024;

const host = 'pubsub.googleapis.com';
const Pulled = z.object({
  receivedMessages: z
    .array(
      z.object({
        ackId: z.string(),
        message: z.object({
          data: z.string().default(''),
          attributes: z.record(z.string(), z.string()).default({}),
          publishTime: z.string(),
        }),
      }),
    )
    .default([]),
});

const nameOf = (placement: Placement): string => resourceName(placement, { limit: 255, suffix: followerName.suffix });

export const followerDriver = (clients: Pick<Clients, 'project' | 'pubsub'>): ResourceDriver =>
  subscriptionDriver(clients, kind, followerName.is);

export function topicTelemetry(
  { project, pubsub, token }: Pick<Clients, 'project' | 'pubsub' | 'token'>,
  http: PooledHttp,
): TelemetryDriver {
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
      /** Without the client, which cannot give a request up: one that went on would take messages away. */
      async function pull(stopped: AbortSignal): Promise<z.infer<typeof Pulled>['receivedMessages']> {
        const headers = { authorization: `Bearer ${await token()}`, 'content-type': 'application/json' };
        const bytes = Buffer.from(JSON.stringify({ maxMessages: batch }));
        const request = {
          method: 'POST' as const,
          host,
          path: `/v1/${subscription}:pull`,
          headers: { ...headers, 'content-length': bytes.length },
          body: { chunks: [bytes], bytes: bytes.length },
        };
        const late = AbortSignal.timeout(waitMs);
        try {
          const answer = await http.send(request, AbortSignal.any([stopped, late]));
          if (answer.status >= 300) throw failure(answer);
          return Pulled.parse(JSON.parse(textOf(answer.piece))).receivedMessages;
        } catch (error) {
          if (late.aborted && !stopped.aborted) return [];
          throw error;
        }
      }
      const fetching = new Fetching(readersAtOnce, async ({ stopped }) => {
        const receivedMessages = await pull(stopped);
        if (receivedMessages.length === 0) return undefined;
        const messages = receivedMessages.flatMap(({ message: { data, attributes, publishTime } }): Passing[] => {
          // The broker's own word: it alone publishes here, but for pumps.
          const { deviceId: device } = attributes;
          return device ? [{ device, body: Buffer.from(data, 'base64'), at: Date.parse(publishTime) }] : [];
        });
        return { messages, receipt: receivedMessages.map(({ ackId }) => ackId) };
      });
      return {
        position: {},
        read: (within, signal) => fetching.read(within, signal),
        async done(batches, signal) {
          const { subscriptions } = await pubsub();
          const receipts = batches.flatMap(({ receipt }) => receipt);
          for (const ackIds of requestsOf(receipts, { most: batch, bytes: Number.POSITIVE_INFINITY, sizeOf: () => 1 }))
            await abortable(signal, subscriptions.acknowledge({ subscription, ackIds }, once));
        },
        stop: () => fetching.stop(),
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
