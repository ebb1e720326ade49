/** The device registry as the broker sees it: one JSON object a device in a bucket, read when a device connects and looked through for changes while it stays. */
import { Storage } from '@google-cloud/storage';
import { deviceObject, deviceOfObject, devicesPrefix, RegisteredDevice } from '../model/registered-device.ts';

export interface Registry {
  /** The device as the bucket has it now, or undefined. A malformed object counts as none. */
  find(id: string): Promise<RegisteredDevice | undefined>;
  /** Of each device's object. Ten devices or ten thousand: one list call a thousand. */
  versions(): Promise<Map<string, Version>>;
}

export interface Version {
  /** Changes whenever the device does. */
  generation: string;
  /** When it did, milliseconds. */
  at: number;
}

export function bucketRegistry(projectId: string, bucketName: string): Registry {
  const bucket = new Storage({ projectId }).bucket(bucketName);
  return {
    async find(id) {
      try {
        const [bytes] = await bucket.file(deviceObject(id)).download();
        const device = RegisteredDevice.safeParse(JSON.parse(bytes.toString('utf8')));
        return device.success && device.data.id === id ? device.data : undefined;
      } catch (error) {
        if (isMissing(error) || error instanceof SyntaxError) return undefined;
        throw error;
      }
    },
    async versions() {
      const [files] = await bucket.getFiles({
        prefix: devicesPrefix,
        fields: 'items(name,generation,updated),nextPageToken',
      });
      const found = new Map<string, Version>();
      for (const file of files) {
        const id = deviceOfObject(file.name);
        // Where fields are named, the SDK hands on what the answer holds, without `metadata`.
        const { generation, updated } = file as { generation?: unknown; updated?: unknown };
        if (id !== undefined) found.set(id, { generation: String(generation), at: Date.parse(String(updated)) });
      }
      return found;
    },
  };
}

const isMissing = (error: unknown): boolean => error instanceof Error && 'code' in error && error.code === 404;
