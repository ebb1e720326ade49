/**
 * Telemetry on AWS: a queue hands each message to one reader. So the follower of a placement has a queue of its own, and a topic
 * rule that puts there what devices send; what a pump writes goes to the queue that everybody reads, and never comes by that rule.
 */
import { isDeepStrictEqual } from 'node:util';
import {
  DeleteMessageBatchCommand,
  type Message,
  ReceiveMessageCommand,
  SendMessageBatchCommand,
  type SendMessageBatchRequestEntry,
} from '@aws-sdk/client-sqs';
import { z } from 'zod';
import { CloudError } from '../../../model/errors.ts';
import type { JsonObject, Placement, ResourceSpec } from '../../../model/service.ts';
import { forwardEncoding, forwardMark } from '../../../model/telemetry-pump.ts';
import type { Call, Observed, ResourceDriver } from '../driver.ts';
import { outputOf } from '../object-store.ts';
import { Fetching, followerName, type Passing, requestsOf, type TelemetryDriver } from '../telemetry.ts';
import type { Clients } from './clients.ts';
import { roleArn, roleName } from './iam-role.ts';
import { topicRuleDriver, topicRuleSpec } from './iot-topic-rule.ts';
import { errorsSpec, queueDriver, queueSpec, queueUrl } from './sqs-queue.ts';
import { desiredTags } from './tags.ts';

const kind = 'aws.iot.follower';
/** As long as SQS can: a pump may stand still while a person is waited for. */
const retentionDays = 14;
/** SQS takes and gives no more at once: https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-messages.html */
const batch = 10;
/** A request takes four times as much; where it was less, a message is no larger than this. */
const batchBytes = 256 * 1024;
/** Until what was received and not done with comes again. */
const hiddenSeconds = 30;
const waitSeconds = 1;
const [readersAtOnce, writersAtOnce] = [6, 8];
const mostTries = 4;

export const followerQueue = (placement: Placement): ResourceSpec =>
  queueSpec(placement, followerName.suffix, retentionDays);
const followerRule = (placement: Placement): ResourceSpec =>
  topicRuleSpec(
    placement,
    {
      queueUrl: queueUrl(placement, followerQueue(placement).name),
      errorsUrl: queueUrl(placement, errorsSpec(placement).name),
      roleArn: roleArn(placement, roleName(placement)),
    },
    followerName.suffix,
  );

const FromRule = z.looseObject({ mqtt_client: z.string() });

/** What the rule has written of who sent it. */
function passing({ Body = '', Attributes }: Message): Passing[] {
  try {
    const { mqtt_client: device } = FromRule.parse(JSON.parse(Body));
    return [{ device, body: Buffer.from(Body), at: Number(Attributes?.SentTimestamp ?? Date.now()) }];
  } catch {
    return []; // not from a device
  }
}

const decoder = new TextDecoder('utf-8', { fatal: true });
/** https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessage.html */
// biome-ignore lint/suspicious/noControlCharactersInRegex: these are what SQS does not take
const untaken = /[\u0000-\u0008\u000b\u000c\u000e-\u001f\ufffe\uffff]/;

/** The text of a body, or undefined where SQS would not take it. */
function textOf(body: Uint8Array): string | undefined {
  try {
    const text = decoder.decode(body);
    return text === '' || untaken.test(text) ? undefined : text;
  } catch {
    return undefined;
  }
}

/**
 * Who reads a message as the rule writes it finds the device where the rule would have written it, and nothing that the device
 * has written there itself. All else stays as it is, to the letter.
 */
function withDevice(text: string, device: string): string {
  let data: unknown;
  try {
    data = JSON.parse(text);
  } catch {
    return text;
  }
  if (typeof data !== 'object' || data === null || Array.isArray(data)) return text;
  if ('mqtt_client' in data) return JSON.stringify({ ...data, mqtt_client: device });
  const end = text.lastIndexOf('}');
  const comma = Object.keys(data).length > 0 ? ',' : '';
  return `${text.slice(0, end)}${comma}"mqtt_client":${JSON.stringify(device)}}`;
}

function entryOf({ device, body }: Passing, index: number): SendMessageBatchRequestEntry {
  const text = textOf(body);
  const attribute = (StringValue: string) => ({ DataType: 'String', StringValue });
  return {
    Id: String(index),
    // A body must not be empty: base64 ignores the sign.
    MessageBody: text === undefined ? Buffer.from(body).toString('base64') || '=' : withDevice(text, device),
    MessageAttributes: {
      [forwardMark]: attribute(device),
      ...(text === undefined && { [forwardEncoding]: attribute('base64') }),
    },
  };
}

export function queueTelemetry(clients: Clients): TelemetryDriver {
  return {
    design: (placement) => ({
      key: 'follower',
      kind,
      name: followerQueue(placement).name,
      needs: [],
      holdsData: false,
      desired: { tags: desiredTags(placement), receives: true, sends: true },
    }),

    read(placement) {
      const sqs = clients.sqs(placement.region);
      const QueueUrl = queueUrl(placement, followerQueue(placement).name);
      const query = {
        QueueUrl,
        MaxNumberOfMessages: batch,
        WaitTimeSeconds: waitSeconds,
        VisibilityTimeout: hiddenSeconds,
        MessageSystemAttributeNames: ['SentTimestamp' as const],
      };
      const fetching = new Fetching(readersAtOnce, async ({ ended: abortSignal }) => {
        // Not given up where it is to be the last: what the queue would have handed over comes again late.
        const { Messages = [] } = await sqs.send(new ReceiveMessageCommand(query), { abortSignal });
        if (Messages.length === 0) return undefined;
        return {
          messages: Messages.flatMap(passing),
          receipt: Messages.map(({ ReceiptHandle = '' }) => ReceiptHandle),
        };
      });
      return {
        position: {},
        read: (waitMs, signal) => fetching.read(waitMs, signal),
        async done(batches, abortSignal) {
          const requests = requestsOf(
            batches.flatMap(({ receipt }) => receipt),
            { most: batch, bytes: Number.POSITIVE_INFINITY, sizeOf: () => 1 },
          );
          await severally(requests, async (some) => {
            const Entries = some.map((ReceiptHandle, at) => ({ Id: String(at), ReceiptHandle }));
            // One that failed comes again.
            await sqs.send(new DeleteMessageBatchCommand({ QueueUrl, Entries }), { abortSignal });
          });
        },
        stop: () => fetching.stop(),
        close: () => fetching.close(),
      };
    },

    write(placement) {
      const sqs = clients.sqs(placement.region);
      const QueueUrl = outputOf(placement, 'telemetry', 'url');
      async function send(all: readonly SendMessageBatchRequestEntry[], abortSignal: AbortSignal): Promise<void> {
        let left = all;
        for (let tries = 1; left.length > 0; tries++) {
          const { Failed = [] } = await sqs.send(new SendMessageBatchCommand({ QueueUrl, Entries: [...left] }), {
            abortSignal,
          });
          left = left.filter(({ Id }) => Failed.some((failed) => failed.Id === Id));
          const [first] = Failed;
          if (first && (first.SenderFault || tries >= mostTries))
            throw new CloudError({
              kind: first.SenderFault ? 'InvalidInput' : 'Unavailable',
              provider: 'aws',
              operation: 'sqs:SendMessage',
              resource: QueueUrl,
            });
        }
      }
      return {
        async write(messages, signal) {
          const entries = messages.map((message, at) => entryOf(message, at % 1_000_000));
          const sizeOf = ({ MessageBody = '' }: SendMessageBatchRequestEntry) => Buffer.byteLength(MessageBody) + 200;
          await severally(requestsOf(entries, { most: batch, bytes: batchBytes, sizeOf }), (some) =>
            send(some, signal),
          );
        },
        async close() {},
      };
    },
  };
}

/** So many requests at once. */
async function severally<T>(requests: readonly T[], send: (request: T) => Promise<void>): Promise<void> {
  const queue = requests.values();
  await Promise.all(
    Array.from({ length: writersAtOnce }, async () => {
      for (const request of queue) await send(request);
    }),
  );
}

/** A queue with the owner's tags, and the rule that fills it. */
export function followerDriver(clients: Clients): ResourceDriver {
  const queue = queueDriver(clients, followerName.is);
  const rule = topicRuleDriver(clients);
  const isAsWanted = (spec: ResourceSpec, seen: Observed): boolean =>
    Object.entries(spec.desired).every(([key, value]) => isDeepStrictEqual(value, seen.properties[key]));

  return {
    kind,
    immutable: [],

    async observe(spec, call) {
      const [wantedQueue, wantedRule] = [followerQueue(call.placement), followerRule(call.placement)];
      const seen = await queue.observe(wantedQueue, call);
      if (!seen) return undefined;
      const filled = await rule.observe(wantedRule, call);
      const properties: JsonObject = {
        tags: seen.properties.tags ?? {},
        receives: isAsWanted(wantedQueue, seen),
        sends: filled !== undefined && isAsWanted(wantedRule, filled),
      };
      return { ...seen, properties, outputs: { url: seen.outputs.url ?? '', name: spec.name } };
    },

    // What fills it is made by the update that follows.
    create: (_spec, call) => queue.create(followerQueue(call.placement), call),

    async update(_spec, observed, drift, call) {
      const [wantedQueue, wantedRule] = [followerQueue(call.placement), followerRule(call.placement)];
      if (drift.includes('tags') || drift.includes('receives'))
        await queue.update(wantedQueue, observed, Object.keys(wantedQueue.desired), call);
      if (drift.includes('sends')) await putRule(wantedRule, call);
    },

    async remove(_spec, observed, call) {
      const wantedRule = followerRule(call.placement);
      const filled = await rule.observe(wantedRule, call);
      if (filled) await rule.remove(wantedRule, filled, call);
      await queue.remove(followerQueue(call.placement), observed, call);
    },

    async list(call) {
      return (await queue.list(call)).map((found) => ({ ...found, kind }));
    },
  };

  async function putRule(spec: ResourceSpec, call: Call): Promise<void> {
    const seen = await rule.observe(spec, call);
    if (seen) await rule.update(spec, seen, Object.keys(spec.desired), call);
    else await rule.create(spec, call);
  }
}
