/** What a service can be asked for, by type: the keys of `configuration` in the estate file with their units, ranges and defaults. */
import { z } from 'zod';
import { JustInTimeAuthority } from './just-in-time.ts';
import type { ServiceType } from './service.ts';

const retentionDays = z
  .int()
  .min(1)
  .max(3650)
  .describe('whole number of days, 1 to 3650; left out: kept until somebody deletes it');

const stored = z
  .number()
  .min(0.001)
  .max(100_000)
  .describe('number of TB (1 TB = 1024 GB) stored and billed, 0.001 to 100000');

/** A fleet of devices: `message_rate` is of the whole fleet, in messages per second. */
export const IotCoreConfiguration = z.strictObject({
  device_count: z.int().min(1).max(10_000_000).describe('whole number of devices, 1 to 10000000').default(1000),
  message_rate: z
    .number()
    .min(0)
    .max(1_000_000)
    .describe('number of messages per second from the whole fleet, 0 to 1000000')
    .default(10),
  retention_days: z
    .int()
    .min(1)
    .max(3650)
    .describe('whole number of days that telemetry waits to be read, 1 to 3650; each cloud caps it')
    .default(7),
  just_in_time_authority: JustInTimeAuthority.optional(),
});

/** Versioned object store, catalogue and ingest stream. */
export const DataLakeConfiguration = z.strictObject({
  storage_size_tb: stored.default(1),
  ingestion_rate_mbps: z
    .number()
    .min(0)
    .max(100_000)
    .describe('number of Mbit/s at the peak, 0 to 100000: sizes streams')
    .default(10),
  ingestion_gb_per_month: z
    .number()
    .min(0)
    .max(1_000_000_000)
    .describe('number of GB a month, 0 to 1000000000; left out: 5 % of the peak')
    .optional(),
  retention_days: retentionDays.optional(),
});

/** A group of equal machines. With `auto_scaling` their number moves between `min_instances` and `max_instances`. */
export const ComputeConfiguration = z.strictObject({
  instance_type: z
    .string()
    .regex(/^[a-z][a-z0-9-]{0,11}\.[a-z0-9-]{1,14}$/)
    .describe('AWS name of an instance type, such as t3.large; config/facts/instance-types.yaml maps it')
    .default('t3.medium'),
  instance_count: z.int().min(1).max(1000).describe('whole number of machines, 1 to 1000').default(2),
  auto_scaling: z.boolean().describe('true or false').default(false),
  min_instances: z.int().min(0).max(1000).describe('whole number, 0 to 1000, at most instance_count').optional(),
  max_instances: z.int().min(1).max(1000).describe('whole number, 1 to 1000, at least instance_count').optional(),
});

export const StorageConfiguration = z.strictObject({
  storage_size_tb: stored.default(0.1),
  retention_days: retentionDays.optional(),
});

/** A type that no cell serves yet takes no keys. */
const NotServed = z.strictObject({});

export const configurations = {
  iot_core: IotCoreConfiguration,
  data_lake: DataLakeConfiguration,
  compute: ComputeConfiguration,
  storage: StorageConfiguration,
  database: NotServed,
  messaging: NotServed,
  analytics: NotServed,
} as const satisfies Record<ServiceType, z.ZodObject>;

export type IotCoreConfiguration = z.infer<typeof IotCoreConfiguration>;
export type DataLakeConfiguration = z.infer<typeof DataLakeConfiguration>;
export type ComputeConfiguration = z.infer<typeof ComputeConfiguration>;
export type StorageConfiguration = z.infer<typeof StorageConfiguration>;
