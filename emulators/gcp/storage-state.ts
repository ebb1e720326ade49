/** What the local Cloud Storage holds: buckets with their policies and notifications, their objects, names that are held. */
import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { z } from 'zod';
import type { JsonObject } from '../../model/service.ts';
import { type Access, emptyPolicy, Policy } from './access.ts';
import { GoogleError } from './google-error.ts';
import { JsonStore } from './json-store.ts';
import { nested } from './storage-bucket.ts';
import { Objects, type Version } from './storage-objects.ts';

const Kept = z.object({
  resource: z.record(z.string(), z.json()),
  policy: Policy.default(emptyPolicy),
  notifications: z.array(z.record(z.string(), z.json())).default([]),
  nextNotification: z.number().default(1),
});
export type KeptBucket = z.infer<typeof Kept>;

export type EventType = 'OBJECT_FINALIZE' | 'OBJECT_DELETE' | 'OBJECT_ARCHIVE' | 'OBJECT_METADATA_UPDATE';

/** Cloud Storage as it publishes to Pub/Sub, by the rights of its service agent. */
export interface Publisher {
  may(topic: string): boolean;
  publish(topic: string, message: { data?: string; attributes: Record<string, string> }): void;
}

export class StorageState {
  readonly folder: string;
  readonly buckets: JsonStore<KeptBucket>;
  readonly access: Access;
  readonly project: string;
  /** Deleted names and until when they are held, epoch milliseconds. */
  readonly #held: JsonStore<number>;
  readonly #nameHeldMs: number;
  readonly #objects = new Map<string, Objects>();
  readonly publisher: Publisher;

  constructor(options: {
    state: string;
    project: string;
    nameHeldMs: number;
    access: Access;
    publisher: Publisher;
  }) {
    this.folder = join(options.state, 'storage');
    this.project = options.project;
    this.access = options.access;
    this.#nameHeldMs = options.nameHeldMs;
    this.publisher = options.publisher;
    this.buckets = new JsonStore(join(this.folder, 'buckets.json'), Kept);
    this.#held = new JsonStore(join(this.folder, 'held.json'), z.number());
  }

  find(bucket: string): KeptBucket {
    const found = this.buckets.items.get(bucket);
    if (!found) throw new GoogleError('notFound', 'The specified bucket does not exist.');
    return found;
  }

  isHeld(name: string): boolean {
    return (this.#held.items.get(name) ?? 0) > Date.now();
  }

  objects(bucket: string): Objects {
    let objects = this.#objects.get(bucket);
    if (!objects) {
      // The generation keeps the files of an earlier bucket of this name apart.
      const { generation } = this.find(bucket).resource;
      const hash = createHash('sha256').update(`${bucket}\n${generation}`).digest('hex').slice(0, 32);
      objects = new Objects(join(this.folder, 'buckets', hash));
      this.#objects.set(bucket, objects);
    }
    return objects;
  }

  remove(bucket: string): void {
    const objects = this.objects(bucket);
    this.#held.set(bucket, Date.now() + this.#nameHeldMs);
    this.buckets.delete(bucket);
    this.#objects.delete(bucket);
    objects.destroy();
  }

  isVersioned(bucket: string): boolean {
    return nested(this.find(bucket).resource, 'versioning').enabled === true;
  }

  live(bucket: string, name: string): Version {
    return this.version(bucket, name, undefined);
  }

  version(bucket: string, name: string, generation: string | undefined): Version {
    const found = this.objects(bucket).find(name, generation);
    if (!found) throw new GoogleError('notFound', `No such object: ${bucket}/${name}`);
    return found;
  }

  /** Refuses while a hold or the bucket's retention policy protects a version. */
  requireUnprotected(bucket: string, version: Version | undefined): void {
    if (!version) return;
    if (version.metadata.temporaryHold === true || version.metadata.eventBasedHold === true)
      throw new GoogleError('objectUnderActiveHold', `Object '${bucket}/${version.name}' is under active hold.`);
    const expires = this.retainedUntil(bucket, version);
    if (expires !== undefined && expires > Date.now())
      throw new GoogleError(
        'retentionPolicyNotMet',
        `Object '${bucket}/${version.name}' is subject to bucket's retention policy until ${new Date(expires).toISOString()}`,
      );
  }

  retainedUntil(bucket: string, version: Version): number | undefined {
    const period = nested(this.find(bucket).resource, 'retentionPolicy').retentionPeriod;
    return period === undefined ? undefined : Date.parse(version.timeCreated) + Number(period) * 1000;
  }

  /** The object resource. */
  shown(bucket: string, version: Version): JsonObject {
    const { name, generation, metageneration, md5, componentCount, timeDeleted, timeCreated, updated } = version;
    const path = `${encodeURIComponent(bucket)}/o/${encodeURIComponent(name)}`;
    const retained = this.retainedUntil(bucket, version);
    return {
      kind: 'storage#object',
      id: `${bucket}/${name}/${generation}`,
      selfLink: `https://www.googleapis.com/storage/v1/b/${path}`,
      mediaLink: `https://storage.googleapis.com/download/storage/v1/b/${path}?generation=${generation}&alt=media`,
      name,
      bucket,
      generation,
      metageneration: String(metageneration),
      ...version.metadata,
      storageClass: version.metadata.storageClass ?? this.find(bucket).resource.storageClass ?? 'STANDARD',
      size: String(version.size),
      ...(md5 === undefined ? {} : { md5Hash: md5 }),
      crc32c: version.crc32c,
      etag: etagOf(version),
      ...(componentCount === undefined ? {} : { componentCount }),
      timeCreated,
      timeFinalized: timeCreated,
      updated,
      timeStorageClassUpdated: timeCreated,
      ...(timeDeleted === undefined ? {} : { timeDeleted }),
      ...(retained === undefined ? {} : { retentionExpirationTime: new Date(retained).toISOString() }),
    };
  }

  /** Tells those who want to know of it: https://cloud.google.com/storage/docs/pubsub-notifications */
  event(bucket: string, eventType: EventType, version: Version, more: Record<string, string> = {}): void {
    const { notifications } = this.find(bucket);
    if (notifications.length === 0) return;
    const resource = this.shown(bucket, version);
    for (const { id, topic, event_types, object_name_prefix, payload_format, custom_attributes } of notifications) {
      if (Array.isArray(event_types) && event_types.length > 0 && !event_types.includes(eventType)) continue;
      if (typeof object_name_prefix === 'string' && !version.name.startsWith(object_name_prefix)) continue;
      const custom = z.record(z.string(), z.string()).safeParse(custom_attributes).data ?? {};
      const name = topicOf(topic);
      if (!this.publisher.may(name)) continue;
      this.publisher.publish(name, {
        ...(payload_format === 'JSON_API_V1' ? { data: Buffer.from(JSON.stringify(resource)).toString('base64') } : {}),
        attributes: {
          ...custom,
          notificationConfig: `projects/_/buckets/${bucket}/notificationConfigs/${id}`,
          eventType,
          payloadFormat: String(payload_format),
          bucketId: bucket,
          objectId: version.name,
          objectGeneration: version.generation,
          eventTime: new Date().toISOString(),
          ...more,
        },
      });
    }
  }

  close(): void {
    for (const objects of this.#objects.values()) objects.close();
  }
}

/** `projects/<project>/topics/<topic>` */
export const topicOf = (topic: unknown): string => String(topic).replace('//pubsub.googleapis.com/', '');

export const etagOf = ({ generation, metageneration }: Version): string =>
  Buffer.from(`${generation}/${metageneration}`).toString('base64');
