/** A queue: encrypted, TLS only, keeping what nobody fetches for the configured time. */
import {
  CreateQueueCommand,
  type CreateQueueCommandInput,
  DeleteQueueCommand,
  GetQueueAttributesCommand,
  GetQueueUrlCommand,
  ListQueuesCommand,
  ListQueueTagsCommand,
  SetQueueAttributesCommand,
  type SQSClient,
  TagQueueCommand,
} from '@aws-sdk/client-sqs';
import { CloudError } from '../../../model/errors.ts';
import { resourceName, retainedUntilTag } from '../../../model/names.ts';
import type { Placement, ResourceSpec } from '../../../model/service.ts';
import { feedName } from '../change-feed.ts';
import type { Call, ResourceDriver } from '../driver.ts';
import { followerName } from '../telemetry.ts';
import type { Clients } from './clients.ts';
import { gone, ifFound } from './errors.ts';
import { allPages, desiredTags, eachOf, foundBy, ownership, tagsOf } from './tags.ts';
import { isTlsOnly, withTlsOnly } from './tls-only.ts';

const kind = 'aws.sqs.queue';
/** SQS keeps nothing longer than this. */
const longestDays = 14;

export const queueSpec = (placement: Placement, key: string, retentionDays: number): ResourceSpec => ({
  key,
  kind,
  name: resourceName(placement, { limit: 80, suffix: key }),
  needs: [],
  holdsData: true,
  desired: {
    tags: desiredTags(placement),
    encryption: 'SSE-SQS',
    tlsOnly: true,
    retentionSeconds: Math.min(retentionDays, longestDays) * 86_400,
  },
});

/** What a topic rule could not deliver. */
export const errorsSpec = (placement: Placement): ResourceSpec => queueSpec(placement, 'errors', longestDays);

export const queueArn = ({ region, account }: Placement, name: string): string =>
  `arn:aws:sqs:${region}:${account}:${name}`;
export const queueUrl = ({ region, account }: Placement, name: string): string =>
  `https://sqs.${region}.amazonaws.com/${account}/${name}`;

/** Asked for so often while SQS holds a name; an activity's attempts are enough for the whole minute. */
const nameHeldMs = 15_000;

/** https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_CreateQueue.html */
export async function createQueue(sqs: SQSClient, input: CreateQueueCommandInput, abortSignal: AbortSignal) {
  try {
    await sqs.send(new CreateQueueCommand(input), { abortSignal });
  } catch (error) {
    if (!(error instanceof Error && error.name.endsWith('QueueDeletedRecently'))) throw error;
    throw new CloudError(
      {
        ...{ kind: 'Throttled', provider: 'aws', operation: 'sqs:CreateQueue' },
        ...{ resource: input.QueueName ?? '', retryAfterMs: nameHeldMs },
      },
      'a queue of this name was deleted less than 60 s ago, and SQS gives the name again after that: it is asked again, and goes on by itself',
    );
  }
}

/** `lists`: which of the queues it finds; those of feeds and followers are found as such. */
export function queueDriver(
  clients: Clients,
  lists = (name: string): boolean => !feedName.is(name) && !followerName.is(name),
): ResourceDriver {
  const client = ({ placement }: Pick<Call, 'placement'>) => clients.sqs(placement.region);
  const attributesOf = (spec: ResourceSpec, placement: Placement): Record<string, string> => ({
    SqsManagedSseEnabled: 'true',
    MessageRetentionPeriod: String(spec.desired.retentionSeconds),
    Policy: withTlsOnly('sqs', [queueArn(placement, spec.name)]),
  });
  const attributes = async (QueueUrl: string, call: Call) =>
    (
      await ifFound(
        client(call).send(new GetQueueAttributesCommand({ QueueUrl, AttributeNames: ['All'] }), {
          abortSignal: call.signal,
        }),
      )
    )?.Attributes;

  return {
    kind,
    immutable: [],

    async observe(spec, call) {
      const options = { abortSignal: call.signal };
      const query = { QueueName: spec.name, QueueOwnerAWSAccountId: call.placement.account };
      const QueueUrl = (await ifFound(client(call).send(new GetQueueUrlCommand(query), options)))?.QueueUrl;
      if (!QueueUrl) return undefined;
      const [found, tagged] = await Promise.all([
        attributes(QueueUrl, call),
        ifFound(client(call).send(new ListQueueTagsCommand({ QueueUrl }), options)),
      ]);
      // A queue that is being deleted still has a URL for a while, but nothing else.
      if (!found || !tagged) return undefined;
      const { tags, ...owned } = ownership(tagged.Tags ?? {}, spec);
      const encryption = found.SqsManagedSseEnabled === 'true' ? 'SSE-SQS' : found.KmsMasterKeyId ? 'SSE-KMS' : 'none';
      return {
        id: found.QueueArn ?? queueArn(call.placement, spec.name),
        ...owned,
        state: 'ready',
        properties: {
          tags,
          encryption,
          tlsOnly: isTlsOnly(found.Policy),
          retentionSeconds: Number(found.MessageRetentionPeriod ?? 0),
        },
        outputs: { url: QueueUrl, arn: found.QueueArn ?? '' },
      };
    },

    async create(spec, call) {
      const input = { QueueName: spec.name, Attributes: attributesOf(spec, call.placement), tags: tagsOf(spec) };
      await createQueue(client(call), input, call.signal);
    },

    async update(spec, observed, drift, call) {
      const options = { abortSignal: call.signal };
      const QueueUrl = observed.outputs.url;
      if (drift.includes('tags'))
        await client(call).send(new TagQueueCommand({ QueueUrl, Tags: tagsOf(spec) }), options);
      if (drift.every((property) => property === 'tags')) return;
      const Attributes = attributesOf(spec, call.placement);
      await client(call).send(new SetQueueAttributesCommand({ QueueUrl, Attributes }), options);
    },

    async remove(_spec, observed, call) {
      const command = new DeleteQueueCommand({ QueueUrl: observed.outputs.url });
      await gone(client(call).send(command, { abortSignal: call.signal }));
    },

    async list({ placement, signal }) {
      const sqs = client({ placement });
      const urls = await allPages(async (NextToken) => {
        const query = { QueueNamePrefix: placement.owner.estate, MaxResults: 1000, NextToken };
        const page = await sqs.send(new ListQueuesCommand(query), { abortSignal: signal });
        return { items: page.QueueUrls ?? [], next: page.NextToken };
      });
      return eachOf(urls.filter(lists), async (QueueUrl) => {
        const tagged = await ifFound(sqs.send(new ListQueueTagsCommand({ QueueUrl }), { abortSignal: signal }));
        const name = QueueUrl.slice(QueueUrl.lastIndexOf('/') + 1);
        return foundBy(placement, kind, name, queueArn(placement, name), tagged?.Tags ?? {});
      });
    },

    store: {
      async isEmpty(spec, call) {
        const found = await attributes(queueUrl(call.placement, spec.name), call);
        const waiting = [
          found?.ApproximateNumberOfMessages,
          found?.ApproximateNumberOfMessagesNotVisible,
          found?.ApproximateNumberOfMessagesDelayed,
        ];
        return waiting.every((count) => Number(count ?? 0) === 0);
      },
      // Deleting a queue deletes what is in it.
      empty: async () => true,
      async retain(spec, until, call) {
        const command = new TagQueueCommand({
          QueueUrl: queueUrl(call.placement, spec.name),
          Tags: { [retainedUntilTag]: until },
        });
        await client(call).send(command, { abortSignal: call.signal });
      },
    },
  };
}
