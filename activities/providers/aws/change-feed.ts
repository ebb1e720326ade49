/**
 * The feed of a bucket: its event notifications, sent to a queue. The queue carries the owner's tags; the bucket's notification
 * configuration is one document for all who use it, in which ours bears the queue's name.
 * https://docs.aws.amazon.com/AmazonS3/latest/userguide/notification-content-structure.html
 */
import { isDeepStrictEqual } from 'node:util';
import {
  GetBucketNotificationConfigurationCommand,
  type GetBucketNotificationConfigurationCommandOutput,
  PutBucketNotificationConfigurationCommand,
  type QueueConfiguration,
} from '@aws-sdk/client-s3';
import {
  DeleteMessageBatchCommand,
  DeleteQueueCommand,
  GetQueueAttributesCommand,
  GetQueueUrlCommand,
  ListQueuesCommand,
  ListQueueTagsCommand,
  ReceiveMessageCommand,
  SetQueueAttributesCommand,
  TagQueueCommand,
} from '@aws-sdk/client-sqs';
import { z } from 'zod';
import { CloudError } from '../../../model/errors.ts';
import { resourceName } from '../../../model/names.ts';
import type { Placement, ResourceSpec } from '../../../model/service.ts';
import { type FeedDriver, feedName, type Notice } from '../change-feed.ts';
import type { Call, ResourceDriver } from '../driver.ts';
import type { Clients } from './clients.ts';
import { gone, ifFound, isKind } from './errors.ts';
import { versionOf } from './object-store.ts';
import { bucketName } from './s3-bucket.ts';
import { createQueue, queueArn, queueUrl } from './sqs-queue.ts';
import { allPages, desiredTags, eachOf, foundBy, ownership, tagsOf } from './tags.ts';
import { withTlsOnly } from './tls-only.ts';

const kind = 'aws.s3.feed';
/**
 * In a bucket with versions an expiry leaves a delete marker. `LifecycleExpiration:Delete` tells of old versions there, which
 * changes nothing: https://docs.aws.amazon.com/AmazonS3/latest/userguide/lifecycle-configure-notification.html
 */
const expiry = 'LifecycleExpiration:DeleteMarkerCreated';
const events = [`s3:${expiry}`, 's3:ObjectCreated:*', 's3:ObjectRemoved:*'] as const;
/** The longest that SQS can: a pump that stood still for longer begins with a whole pass anyway. */
const retentionSeconds = 14 * 86_400;
/** Until what was received and not acknowledged comes again. */
const hiddenSeconds = 300;
/** SQS receives and deletes no more at once, and waits no longer. */
const batch = 10;
const longestWaitSeconds = 20;

const nameOf = (placement: Placement): string => resourceName(placement, { limit: 80, suffix: feedName.suffix });

const Body = z.looseObject({
  Records: z
    .array(
      z.looseObject({
        eventTime: z.string(),
        eventName: z.string().default(''),
        s3: z.looseObject({
          object: z.looseObject({ key: z.string(), eTag: z.string().optional(), sequencer: z.string().optional() }),
        }),
      }),
    )
    .default([]),
});

/** Keys are written as in a form: a space is `+`. */
export function noticeOf(body: string, receipt: string): Notice {
  const changes = Body.parse(JSON.parse(body)).Records.map(({ eventTime, eventName, s3: { object } }) => {
    const expired = eventName.includes(expiry);
    const deleted = expired || eventName.includes('ObjectRemoved');
    return {
      key: decodeURIComponent(object.key.replaceAll('+', ' ')),
      at: eventTime,
      deleted,
      ...(deleted && { cause: expired ? ('lifecycle' as const) : ('user' as const) }),
      ...(object.eTag && !deleted && { version: versionOf(object.eTag, new Date(eventTime)) }),
      ...(object.sequencer && { sequence: object.sequencer }),
    };
  });
  return { changes, receipt };
}

export function bucketFeed(clients: Clients): FeedDriver {
  return {
    design: (placement) => ({
      key: 'feed',
      kind,
      name: nameOf(placement),
      needs: [],
      holdsData: false,
      desired: { tags: desiredTags(placement), encryption: 'SSE-SQS', receives: true, sends: true },
    }),
    open(placement) {
      const sqs = clients.sqs(placement.region);
      const QueueUrl = queueUrl(placement, nameOf(placement));
      return {
        async receive(waitMs, abortSignal) {
          const command = new ReceiveMessageCommand({
            QueueUrl,
            MaxNumberOfMessages: batch,
            WaitTimeSeconds: Math.min(longestWaitSeconds, Math.floor(waitMs / 1000)),
            VisibilityTimeout: hiddenSeconds,
          });
          const { Messages = [] } = await sqs.send(command, { abortSignal });
          return Messages.map(({ Body: body = '{}', ReceiptHandle = '' }) => noticeOf(body, ReceiptHandle));
        },
        async acknowledge(receipts, abortSignal) {
          for (let start = 0; start < receipts.length; start += batch) {
            const some = receipts.slice(start, start + batch);
            const Entries = some.map((ReceiptHandle, at) => ({ Id: String(at), ReceiptHandle }));
            // One that failed comes again.
            await sqs.send(new DeleteMessageBatchCommand({ QueueUrl, Entries }), { abortSignal });
          }
        },
      };
    },
  };
}

type Notifications = Omit<GetBucketNotificationConfigurationCommandOutput, '$metadata'>;

export function feedDriver(clients: Clients): ResourceDriver {
  const sqs = ({ placement }: Pick<Call, 'placement'>) => clients.sqs(placement.region);
  const bucketOf = ({ placement }: Pick<Call, 'placement'>) => ({
    Bucket: bucketName(placement),
    ExpectedBucketOwner: placement.account,
  });
  const ours = (spec: ResourceSpec, { placement }: Call): QueueConfiguration => ({
    Id: spec.name,
    QueueArn: queueArn(placement, spec.name),
    Events: [...events],
  });

  /** Who may send to the queue: S3, of what happens in this bucket. */
  function policyOf(spec: ResourceSpec, { placement }: Call): string {
    const queue = queueArn(placement, spec.name);
    const statement = {
      Sid: 'Bucket',
      Effect: 'Allow',
      Principal: { Service: 's3.amazonaws.com' },
      Action: 'sqs:SendMessage',
      Resource: queue,
      Condition: {
        ArnEquals: { 'aws:SourceArn': `arn:aws:s3:::${bucketName(placement)}` },
        StringEquals: { 'aws:SourceAccount': placement.account },
      },
    };
    return withTlsOnly('sqs', [queue], JSON.stringify({ Version: '2012-10-17', Statement: [statement] }));
  }
  const attributesOf = (spec: ResourceSpec, call: Call): Record<string, string> => ({
    SqsManagedSseEnabled: 'true',
    MessageRetentionPeriod: String(retentionSeconds),
    ReceiveMessageWaitTimeSeconds: String(longestWaitSeconds),
    Policy: policyOf(spec, call),
  });

  async function notifications(call: Call): Promise<Notifications | undefined> {
    const command = new GetBucketNotificationConfigurationCommand(bucketOf(call));
    const found = await ifFound(clients.s3(call.placement.region).send(command, { abortSignal: call.signal }));
    if (!found) return undefined;
    const { $metadata: _, ...configuration } = found;
    return configuration;
  }

  /** The document with ours in it or without; what others have in it goes back as it came. */
  async function replace(spec: ResourceSpec, call: Call, own: readonly QueueConfiguration[]): Promise<void> {
    const now = await notifications(call);
    if (!now) {
      if (own.length === 0) return; // the bucket is gone, and its notifications with it
      throw failure(spec, 'NotFound', 'its bucket is not there');
    }
    const others = (now.QueueConfigurations ?? []).filter(({ Id }) => Id !== spec.name);
    const wanted = { ...now, QueueConfigurations: [...others, ...own] };
    if (isDeepStrictEqual(wanted.QueueConfigurations, now.QueueConfigurations ?? [])) return;
    const all = [...others, ...(now.TopicConfigurations ?? []), ...(now.LambdaFunctionConfigurations ?? [])];
    // https://docs.aws.amazon.com/AmazonS3/latest/userguide/notification-how-to-filtering.html
    const same = all.find(({ Events = [] }) =>
      Events.some((event) => /^s3:(Object(Created|Removed)|LifecycleExpiration):/.test(event)),
    );
    if (own.length > 0 && same)
      throw failure(
        spec,
        'NotSupported',
        `the bucket tells of its changes by the configuration ${same.Id ?? 'without an ID'} already, and S3 lets no two tell of the same ones`,
      );
    const put = new PutBucketNotificationConfigurationCommand({
      ...bucketOf(call),
      NotificationConfiguration: wanted,
    });
    try {
      await clients.s3(call.placement.region).send(put, { abortSignal: call.signal });
    } catch (error) {
      // S3 tries the way, and a queue just made or changed is not known everywhere for up to a minute.
      if (own.length > 0 && isKind(error, 'InvalidInput'))
        throw failure(spec, 'Unavailable', 'S3 cannot send to its queue yet');
      throw error;
    }
  }

  const failure = (
    { name }: ResourceSpec,
    why: 'NotFound' | 'NotSupported' | 'Unavailable',
    explanation: string,
  ): CloudError =>
    new CloudError({ kind: why, provider: 'aws', operation: 's3:PutBucketNotification', resource: name }, explanation);

  return {
    kind,
    immutable: [],

    async observe(spec, call) {
      const options = { abortSignal: call.signal };
      const query = { QueueName: spec.name, QueueOwnerAWSAccountId: call.placement.account };
      const QueueUrl = (await ifFound(sqs(call).send(new GetQueueUrlCommand(query), options)))?.QueueUrl;
      if (!QueueUrl) return undefined;
      const [tagged, found, configured] = await Promise.all([
        ifFound(sqs(call).send(new ListQueueTagsCommand({ QueueUrl }), options)),
        ifFound(sqs(call).send(new GetQueueAttributesCommand({ QueueUrl, AttributeNames: ['All'] }), options)),
        notifications(call),
      ]);
      // A queue that is being deleted still has a URL for a while, but nothing else.
      if (!tagged || !found?.Attributes) return undefined;
      const { tags, ...owned } = ownership(tagged.Tags ?? {}, spec);
      const { SqsManagedSseEnabled, Policy, MessageRetentionPeriod } = found.Attributes;
      const own = configured?.QueueConfigurations?.find(({ Id }) => Id === spec.name);
      const told = own && { ...own, Events: own.Events?.toSorted() };
      return {
        id: queueArn(call.placement, spec.name),
        ...owned,
        state: 'ready',
        properties: {
          tags,
          encryption: SqsManagedSseEnabled === 'true' ? 'SSE-SQS' : 'none',
          receives: Policy === policyOf(spec, call) && Number(MessageRetentionPeriod) === retentionSeconds,
          sends: isDeepStrictEqual(told, ours(spec, call)),
        },
        outputs: { url: QueueUrl },
      };
    },

    // What the bucket sends is set by the update that follows: S3 tries the way, so the queue comes first.
    async create(spec, call) {
      const input = { QueueName: spec.name, Attributes: attributesOf(spec, call), tags: tagsOf(spec) };
      await createQueue(sqs(call), input, call.signal);
    },

    async update(spec, observed, drift, call) {
      const options = { abortSignal: call.signal };
      const QueueUrl = observed.outputs.url;
      if (drift.includes('tags')) await sqs(call).send(new TagQueueCommand({ QueueUrl, Tags: tagsOf(spec) }), options);
      if (drift.includes('receives') || drift.includes('encryption')) {
        const Attributes = attributesOf(spec, call);
        await sqs(call).send(new SetQueueAttributesCommand({ QueueUrl, Attributes }), options);
      }
      if (drift.includes('sends')) await replace(spec, call, [ours(spec, call)]);
    },

    async remove(spec, observed, call) {
      await replace(spec, call, []);
      const command = new DeleteQueueCommand({ QueueUrl: observed.outputs.url });
      await gone(sqs(call).send(command, { abortSignal: call.signal }));
    },

    async list({ placement, signal: abortSignal }) {
      const client = sqs({ placement });
      const urls = await allPages(async (NextToken) => {
        const query = { QueueNamePrefix: placement.owner.estate, MaxResults: 1000, NextToken };
        const page = await client.send(new ListQueuesCommand(query), { abortSignal });
        return { items: page.QueueUrls ?? [], next: page.NextToken };
      });
      return eachOf(urls.filter(feedName.is), async (QueueUrl) => {
        const tagged = await ifFound(client.send(new ListQueueTagsCommand({ QueueUrl }), { abortSignal }));
        const name = QueueUrl.slice(QueueUrl.lastIndexOf('/') + 1);
        return foundBy(placement, kind, name, queueArn(placement, name), tagged?.Tags ?? {});
      });
    },
  };
}
