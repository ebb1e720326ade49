/** The device registry as the broker sees it: one JSON object a device in a bucket, read when a device connects and looked through for changes while it stays. */
import { Storage } from '@google-cloud/storage';
import { deviceObject, deviceOfObject, devicesPrefix, RegisteredDevice } from '../model/registered-device.ts';

export interface Registry {
  /** The device as the bucket has it now, or undefined. A malformed object counts as none. */
  find(id: string): Promise<RegisteredDevice | undefined>;
  /** Generation of each device's object: it changes whenever the device does. Ten devices or ten thousand: one list call a thousand. */
  generations(): Promise<Map<string, string>>;
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
    async generations() {
      const [files] = await bucket.getFiles({
        prefix: devicesPrefix,
        fields: 'items(name,generation),nextPageToken',
      });
      const found = new Map<string, string>();
      for (const file of files) {
        const id = deviceOfObject(file.name);
        // Where fields are named, the SDK hands on what the answer holds, without `metadata`.
        if (id !== undefined) found.set(id, String(file.generation));
      }
      return found;
    },
  };
}

const isMissing = (error: unknown): boolean => error instanceof Error && 'code' in error && error.code === 404;
