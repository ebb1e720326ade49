/** The device registry as the broker sees it: one JSON object a device in a bucket, read when a device connects and looked through for changes while it stays. */
import { Storage } from '@google-cloud/storage';
import { deviceObject, deviceOfObject, devicesPrefix, RegisteredDevice } from '../model/registered-device.ts';

export interface Registry {
  /** The device as the bucket has it now, or undefined. A malformed object counts as none. */
  find(id: string): Promise<RegisteredDevice | undefined>;
  /** Of each device's object. Ten devices or ten thousand: one list call a thousand. */
  versions(): Promise<Map<string, Version>>;
  /**
   * Registers a device that nobody has registered, and answers what stands there then: this one, or what another machine was faster
   * with. Undefined where one of its name was removed, which is somebody's decision.
   */
  register(device: RegisteredDevice): Promise<RegisteredDevice | undefined>;
}

export interface Version {
  /** Changes whenever the device does. */
  generation: string;
  /** When it did, milliseconds. */
  at: number;
}

export function bucketRegistry(projectId: string, bucketName: string): Registry {
  const bucket = new Storage({ projectId }).bucket(bucketName);
  async function find(id: string): Promise<RegisteredDevice | undefined> {
    try {
      const [bytes] = await bucket.file(deviceObject(id)).download();
      const device = RegisteredDevice.safeParse(JSON.parse(bytes.toString('utf8')));
      return device.success && device.data.id === id ? device.data : undefined;
    } catch (error) {
      if (isStatus(error, 404) || error instanceof SyntaxError) return undefined;
      throw error;
    }
  }
  return {
    find,
    async register(device) {
      const name = deviceObject(device.id);
      const [versions] = await bucket.getFiles({ prefix: name, versions: true });
      // The bucket keeps the versions of what was there: a device that was removed is told by them from one that never was.
      if (versions.some((version) => version.name === name)) return find(device.id);
      try {
        const options = {
          resumable: false,
          contentType: 'application/json',
          preconditionOpts: { ifGenerationMatch: 0 },
        };
        await bucket.file(name).save(JSON.stringify(device), options);
        return device;
      } catch (error) {
        if (isStatus(error, 412)) return find(device.id);
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

const isStatus = (error: unknown, status: number): boolean =>
  error instanceof Error && 'code' in error && error.code === status;
