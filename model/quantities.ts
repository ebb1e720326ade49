/** What a service uses in a month, from its configuration, before any cloud's way of billing. Every assumption is a sentence that `plan` prints. */
import {
  ComputeConfiguration,
  DataLakeConfiguration,
  IotCoreConfiguration,
  StorageConfiguration,
} from './configuration.ts';
import type { QuantityName } from './prices.ts';
import type { Configuration, ServiceType } from './service.ts';

export interface Quantity {
  name: QuantityName;
  quantity: number;
  unit: string;
  /** How it came about; empty where it stands in the configuration itself. */
  assumption: string;
}

/** Clouds bill 730 hours as a month. */
export const hoursPerMonth = 730;
const secondsPerMonth = hoursPerMonth * 3600;
/** Of the peak, where `ingestion_gb_per_month` is not given. */
const shareOfPeak = 0.05;
const messageKb = 1;
const batchKb = 64;
const objectMb = 64;
const daysPerMonth = hoursPerMonth / 24;
/** What comes into a lake waits so many days in its stream at most, on any cloud; the telemetry of devices so many. */
const waitingDays = { lake: 7, telemetry: 31 };

const month: Quantity[] = [
  { name: 'months', quantity: 1, unit: 'month', assumption: '' },
  { name: 'hours', quantity: hoursPerMonth, unit: 'hours', assumption: `a month has ${hoursPerMonth} hours` },
];

const stored = (terabytes: number): Quantity => ({
  name: 'stored_gb',
  quantity: terabytes * 1024,
  unit: 'GB',
  assumption: `storage_size_tb (${terabytes}) is what is stored and billed, 1 TB = 1024 GB; older versions are not counted`,
});

function iotCore(configuration: Configuration): Quantity[] {
  const { device_count, message_rate, retention_days } = IotCoreConfiguration.parse(configuration);
  const messages = message_rate * secondsPerMonth;
  const messageGb = (messages * messageKb) / 1e6;
  return [
    { name: 'devices', quantity: device_count, unit: 'devices', assumption: '' },
    {
      name: 'connection_minutes',
      quantity: device_count * hoursPerMonth * 60,
      unit: 'minutes',
      assumption: 'every device is connected all the time',
    },
    {
      name: 'messages',
      quantity: messages,
      unit: 'messages',
      assumption: `message_rate (${message_rate}/s) is of the whole fleet, all month long`,
    },
    { name: 'messages_per_day', quantity: message_rate * 86_400, unit: 'messages a day', assumption: '' },
    {
      name: 'message_gb',
      quantity: messageGb,
      unit: 'GB',
      assumption: `a message has ${messageKb} KB`,
    },
    inStream(messageGb, Math.min(retention_days, waitingDays.telemetry)),
  ];
}

/** What a stream holds at any time when it keeps all that comes in for some days, read or not. */
const inStream = (gbPerMonth: number, days: number): Quantity => ({
  name: 'stream_gb',
  quantity: (gbPerMonth * days) / daysPerMonth,
  unit: 'GB',
  assumption: `what comes in stays in the stream for ${days} days`,
});

/** GB that a data lake takes in a month; what replication carries, too. */
export function ingestedGb(configuration: Configuration): number {
  const { ingestion_rate_mbps, ingestion_gb_per_month } = DataLakeConfiguration.parse(configuration);
  return ingestion_gb_per_month ?? ((ingestion_rate_mbps * shareOfPeak) / 8 / 1000) * secondsPerMonth;
}

function dataLake(configuration: Configuration): Quantity[] {
  const { storage_size_tb, ingestion_rate_mbps, ingestion_gb_per_month, retention_days } =
    DataLakeConfiguration.parse(configuration);
  const ingested = ingestedGb(configuration);
  return [
    stored(storage_size_tb),
    {
      name: 'ingested_gb',
      quantity: ingested,
      unit: 'GB',
      assumption:
        ingestion_gb_per_month === undefined
          ? `${shareOfPeak * 100} % of the peak (${ingestion_rate_mbps} Mbit/s) comes in on average; set ingestion_gb_per_month to say otherwise`
          : '',
    },
    { name: 'delivered_gb', quantity: ingested, unit: 'GB', assumption: 'what comes in is read once' },
    inStream(ingested, Math.min(retention_days ?? waitingDays.lake, waitingDays.lake)),
    {
      name: 'peak_mb_per_second',
      quantity: ingestion_rate_mbps / 8,
      unit: 'MB/s',
      assumption: `streams are sized for the peak (${ingestion_rate_mbps} Mbit/s)`,
    },
    {
      name: 'messages',
      quantity: (ingested * 1e6) / batchKb,
      unit: 'events',
      assumption: `producers send batches of ${batchKb} KB`,
    },
    {
      name: 'write_requests',
      quantity: (ingested * 1000) / objectMb,
      unit: 'writes',
      assumption: `objects of ${objectMb} MB are written; reads are not counted`,
    },
  ];
}

function compute(configuration: Configuration): Quantity[] {
  const { instance_count, auto_scaling } = ComputeConfiguration.parse(configuration);
  return [
    {
      name: 'instance_hours',
      quantity: instance_count * hoursPerMonth,
      unit: 'hours',
      assumption: auto_scaling
        ? `on average instance_count (${instance_count}) machines run, whatever scaling does`
        : `all ${instance_count} machines run all month long`,
    },
    {
      name: 'instance_months',
      quantity: instance_count,
      unit: 'machines',
      assumption: 'traffic to the internet is not counted; prices are on demand, for Linux',
    },
  ];
}

function storage(configuration: Configuration): Quantity[] {
  const { storage_size_tb } = StorageConfiguration.parse(configuration);
  const gb = stored(storage_size_tb);
  return [{ ...gb, assumption: `${gb.assumption}; requests and downloads are not counted` }];
}

/** GB that a service holds by its configuration; what filling a new placement carries. */
export const storedGb = (type: ServiceType, configuration: Configuration): number =>
  quantitiesOf(type, configuration).find(({ name }) => name === 'stored_gb')?.quantity ?? 0;

/** Empty for a type that is not served yet: it costs nothing because it is not there. */
export function quantitiesOf(type: ServiceType, configuration: Configuration): Quantity[] {
  switch (type) {
    case 'iot_core':
      return [...month, ...iotCore(configuration)];
    case 'data_lake':
      return [...month, ...dataLake(configuration)];
    case 'compute':
      return [...month, ...compute(configuration)];
    case 'storage':
      return [...month, ...storage(configuration)];
    default:
      return [];
  }
}
