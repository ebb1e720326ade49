/** The configurations with which every cloud's cells go through the suite. `changed` differs in what can change in place. */
import type { Configuration, ServiceType } from '../../model/service.ts';

export const cases: readonly { type: ServiceType; configuration: Configuration; changed: Configuration }[] = [
  {
    type: 'storage',
    configuration: { storage_size_tb: 1, retention_days: 90 },
    changed: { storage_size_tb: 1, retention_days: 30 },
  },
  {
    type: 'data_lake',
    configuration: { storage_size_tb: 100, ingestion_rate_mbps: 1000, retention_days: 365 },
    changed: { storage_size_tb: 100, ingestion_rate_mbps: 1000, retention_days: 180 },
  },
  {
    type: 'compute',
    configuration: {
      instance_type: 't3.large',
      instance_count: 3,
      auto_scaling: true,
      min_instances: 2,
      max_instances: 6,
    },
    changed: { instance_type: 't3.large', instance_count: 3, auto_scaling: true, min_instances: 2, max_instances: 8 },
  },
  {
    type: 'iot_core',
    configuration: { device_count: 10000, message_rate: 100, retention_days: 7 },
    changed: { device_count: 10000, message_rate: 100, retention_days: 3 },
  },
];
