/**
 * Events of Blob Storage, delivered to the queues that subscribe to them. Where the topic's identity may not send to a queue, or
 * keys would be needed that the account refuses, nothing arrives; Event Grid would try again for a day.
 * https://learn.microsoft.com/azure/event-grid/event-schema-blob-storage
 */
import { randomUUID } from 'node:crypto';
import type { IncomingHttpHeaders } from 'node:http';
import { queueAction } from '../actions.ts';
import { asObject } from '../arm/accept.ts';
import type { ArmReader, Stored } from '../arm/kind.ts';
import { keyOf } from '../arm/resource-id.ts';
import type { Queues } from '../queue/messages.ts';
import { deliveryOf, sourceSubscriptionType, topicSubscriptionType, topicType } from './arm-kinds.ts';

/** A request to Blob Storage that has succeeded. */
export interface Carried {
  account: Stored;
  method: string;
  url: URL;
  request: IncomingHttpHeaders;
  answer: IncomingHttpHeaders;
}

const sends = queueAction('POST', '/queue/messages', new URLSearchParams());

export class EventGrid {
  readonly #arm: ArmReader;
  readonly #queues: Queues;
  #sequence = BigInt(Date.now()) << 20n;

  constructor({ arm, queues }: { arm: ArmReader; queues: Queues }) {
    this.#arm = arm;
    this.#queues = queues;
  }

  /** Tells of it where it has changed a blob: metadata, tags and tiers do not count. */
  carried({ account, method, url, request, answer }: Carried): void {
    const api = apiOf(method, url, request);
    if (!api) return;
    const [, container = '', ...rest] = url.pathname.split('/').map(decodeURIComponent);
    const subject = `/blobServices/default/containers/${container}/blobs/${rest.join('/')}`;
    const isDeleted = api === 'DeleteBlob';
    const eventType = `Microsoft.Storage.Blob${isDeleted ? 'Deleted' : 'Created'}`;
    const subscriptions = [...this.#subscriptions(account)];
    if (subscriptions.length === 0) return;
    const contentType = String(request['x-ms-blob-content-type'] ?? request['content-type'] ?? '');
    const event = {
      topic: account.id,
      subject,
      eventType,
      id: randomUUID(),
      data: {
        api,
        clientRequestId: String(request['x-ms-client-request-id'] ?? ''),
        requestId: String(answer['x-ms-request-id'] ?? ''),
        ...(isDeleted ? {} : { eTag: String(answer.etag ?? '').replaceAll('"', '') }),
        contentType: contentType || 'application/octet-stream',
        ...(api === 'PutBlob' ? { contentLength: Number(request['content-length'] ?? 0) } : {}),
        blobType: String(request['x-ms-blob-type'] ?? 'BlockBlob'),
        url: `https://${account.name}.blob.core.windows.net${url.pathname}`,
        sequencer: (this.#sequence++).toString(16).toUpperCase().padStart(48, '0'),
        storageDiagnostics: { batchId: randomUUID() },
      },
      dataVersion: '',
      metadataVersion: '1',
      eventTime: new Date().toISOString(),
    };
    const text = Buffer.from(JSON.stringify(event)).toString('base64');
    for (const { identity, ...to } of subscriptions) {
      const { subjectBeginsWith, subjectEndsWith, includedEventTypes } = to.filter;
      // Letter case does not count unless it is asked for.
      const fits = (part: string, at: 'startsWith' | 'endsWith'): boolean =>
        to.filter.isSubjectCaseSensitive ? subject[at](part) : subject.toLowerCase()[at](part.toLowerCase());
      if (!fits(subjectBeginsWith, 'startsWith') || !fits(subjectEndsWith, 'endsWith')) continue;
      if (includedEventTypes && !includedEventTypes.includes(eventType)) continue;
      if (this.#arm.get(to.queue) && this.#maySend(identity, to)) this.#queues.of(to.queue).put(text, to.ttlSeconds);
    }
  }

  *#subscriptions(account: Stored) {
    for (const topic of this.#arm.list(topicType)) {
      if (keyOf(String(topic.properties.source)) !== keyOf(account.id)) continue;
      const { principalId } = asObject(topic.identity);
      for (const one of this.#arm.list(topicSubscriptionType))
        if (keyOf(one.id).startsWith(`${keyOf(topic.id)}/`))
          yield { ...deliveryOf(one), identity: String(principalId ?? '') };
    }
    for (const one of this.#arm.list(sourceSubscriptionType))
      if (keyOf(String(one.properties.topic)) === keyOf(account.id)) yield { ...deliveryOf(one), identity: '' };
  }

  #maySend(identity: string, to: ReturnType<typeof deliveryOf>): boolean {
    if (to.byIdentity) return this.#arm.allows(identity, sends, to.queue);
    return this.#arm.get(to.account)?.properties.allowSharedKeyAccess !== false;
  }
}

function apiOf(method: string, url: URL, request: IncomingHttpHeaders): string | undefined {
  const query = url.searchParams;
  if (url.pathname.split('/').length < 3 || query.has('restype')) return undefined;
  const comp = query.get('comp');
  if (method === 'DELETE') return comp || query.has('snapshot') || query.has('versionid') ? undefined : 'DeleteBlob';
  if (method !== 'PUT') return undefined;
  if (comp === 'blocklist') return 'PutBlockList';
  if (comp) return undefined;
  return request['x-ms-copy-source'] === undefined ? 'PutBlob' : 'CopyBlob';
}
