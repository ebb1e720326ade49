/**
 * The estate file after it was read: `config/multi-cloud.yaml`, key for key. Names are the file's own. Every leaf is described
 * with what is allowed there, units and ranges included: those texts stand in the errors of a wrong file.
 * Rules between fields are in `estate-rules.ts`.
 */
import { z } from 'zod';
import { Duration } from './duration.ts';
import { Replication } from './replication-wish.ts';
import { providerTypes, type ServiceType, serviceTypes, statefulTypes } from './service.ts';
import { waveSettings } from './wave-settings.ts';

const Key = z
  .string()
  .regex(/^[a-z][a-z0-9_-]{0,30}$/)
  .describe('[a-z][a-z0-9_-]{0,30}');
const Region = z
  .string()
  .regex(/^[a-z][a-z0-9-]{1,39}$/)
  .describe("a region by the cloud's own name, such as us-west-2, westus2, us-central1");
const Weight = z.number().min(0).max(1).describe('number from 0 to 1; the four weights add up to 1');
const Switch = z.boolean().describe('true or false');
const Secret = z
  .string()
  .min(1)
  .max(200)
  .describe(`a placeholder \${NAME} and nothing else, with a name that the worker allows`);
const Text = z.string().min(1).max(200).describe('text of 1 to 200 characters');

export const Provider = z.strictObject({
  /** Its identity everywhere else in the file, and in commands. */
  name: Key,
  type: z.enum(providerTypes).describe(providerTypes.join(', ')),
  region: Region,
  /** Placeholders, never values. Left out: the SDK's default chain (workload identity). */
  credentials: z.record(z.string(), Secret).optional(),
  /** One of the three, by type: what the credentials must really belong to before the first write. */
  account: z
    .string()
    .regex(/^[0-9]{12}$/)
    .describe('AWS account ID of 12 digits, in quotes')
    .optional(),
  subscription: z.guid().describe('Azure subscription ID (a GUID)').optional(),
  project: z
    .string()
    .regex(/^[a-z][a-z0-9-]{4,28}[a-z0-9]$/)
    .describe('GCP project ID of 6 to 30 characters')
    .optional(),
  enabled: Switch.default(true),
  /** Breaks ties: the smaller number wins. */
  priority: z.int().min(1).max(1000).describe('whole number, 1 to 1000; the smaller wins a tie').default(100),
});
export type Provider = z.infer<typeof Provider>;

export const Service = z.strictObject({
  type: z.enum(serviceTypes).describe(serviceTypes.join(', ')),
  /** How many different cloud types it runs on. More than there are is `Unplaceable`, when it is planned. */
  redundancy: z.int().min(1).max(16).describe('whole number of different cloud types, 1 to 16').default(1),
  /** A zone of `compliance.data_residency`, or a region that stands for its zone; null: anywhere. */
  data_residency: z
    .string()
    .min(1)
    .max(40)
    .nullable()
    .describe('a zone of compliance.data_residency, a region listed there, or null')
    .default(null),
  /** A hard list: other providers are no candidates. Left out: every provider is. */
  preferred_providers: z
    .array(Key)
    .min(1)
    .max(50)
    .describe('list of names of providers; leave the key out to allow all')
    .optional(),
  /** Checked by the schema of its type in `configuration.ts`, defaults filled in. */
  configuration: z.record(z.string(), z.json()).describe('mapping of the keys of the service type').default({}),
  replication: Replication.optional(),
  /** Removing it needs a confirmation. Default: true for types that hold data. */
  protect: Switch.optional(),
});
export type Service = z.infer<typeof Service>;

export const isProtected = (service: Pick<Service, 'type' | 'protect'>): boolean =>
  service.protect ?? statefulTypes.includes(service.type satisfies ServiceType);

const Channel = z.discriminatedUnion('type', [
  z.strictObject({ type: z.literal('slack'), webhook: Secret }),
  z.strictObject({ type: z.literal('webhook'), webhook: Secret }),
  z.strictObject({
    type: z.literal('email'),
    recipients: z.array(Text).min(1).max(50).describe('list of 1 to 50 e-mail addresses'),
  }),
]);

const Approver = z.strictObject({
  name: Text,
  key: z
    .string()
    .regex(/^[A-Za-z0-9+/]{43}=$/)
    .describe('Ed25519 public key: 32 bytes in base64')
    .optional(),
});

const Front = z
  .string()
  .regex(/^(?=.{1,253}(:|$))[a-z0-9]([a-z0-9.-]*[a-z0-9])?(:[0-9]{1,5})?$/)
  .describe('a host name or an IPv4 address in lower case; with a load balancer an IPv4 address:port');

/** Checksums of our own that a manifest has of each object. */
export const digests = ['crc32', 'sha256'] as const;
export type Digest = (typeof digests)[number];

export const Estate = z.strictObject({
  name: z
    .string()
    .regex(/^[a-z][a-z0-9-]{0,23}$/)
    .describe('[a-z][a-z0-9-]{0,23}')
    .default('multi-cloud'),
  providers: z.array(Provider).min(1).max(50).describe('list of 1 to 50 providers'),
  services: z.record(Key, Service).describe('mapping of service names to services').default({}),
  placement: z
    .strictObject({
      weights: z
        .strictObject({
          cost: Weight.default(0.3),
          performance: Weight.default(0.25),
          compliance: Weight.default(0.25),
          reliability: Weight.default(0.2),
        })
        .prefault({}),
    })
    .prefault({}),
  compliance: z
    .strictObject({
      required_certifications: z.array(Text).max(50).describe('list of names, such as ISO 27001').default([]),
      data_residency: z
        .record(Key, z.array(Region).min(1).max(100).describe('list of 1 to 100 regions'))
        .describe('mapping of zones to lists of regions')
        .default({}),
    })
    .prefault({}),
  cost: z
    .strictObject({
      budget: z.number().min(0).max(1_000_000_000).describe('number of USD a month, 0 to 1000000000').optional(),
      alert_threshold: z
        .number()
        .min(0)
        .max(1)
        .describe('number from 0 to 1: the share of the budget that alerts')
        .default(0.8),
      optimization_enabled: Switch.default(true),
      /** Only `true` refuses a plan over the budget, with `OverBudget`; otherwise it alerts. */
      enforce: Switch.default(false),
    })
    .prefault({}),
  monitoring: z
    .strictObject({
      enabled: Switch.default(true),
      metrics_interval: z.int().min(10).max(86_400).describe('whole number of seconds, 10 to 86400').default(60),
      alert_channels: z.array(Channel).max(20).describe('list of at most 20 channels').default([]),
    })
    .prefault({}),
  traffic: z
    .strictObject({
      zone: z
        .string()
        .regex(/^(?=.{1,253}$)([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]{2,63}$/)
        .describe('a DNS zone such as iot.example.com'),
      /** Name of the provider that holds the zone. */
      dns: Key,
      ttl: Duration.default('30s'),
      load_balancer: z
        .strictObject({
          haproxy: z
            .string()
            .regex(/^[A-Za-z0-9.-]{1,253}:[0-9]{1,5}$/)
            .describe('host:port'),
        })
        .optional(),
      /** Where the HTTP or TCP fronts of a service are, by its key and the provider's name. */
      fronts: z
        .record(Key, z.record(Key, Front))
        .describe('mapping of services to mappings of providers to addresses')
        .optional(),
    })
    .optional(),
  approvals: z
    .strictObject({
      required: z.int().min(1).max(20).describe('whole number of people, 1 to 20').default(1),
      approvers: z.array(Approver).max(100).describe('list of people; empty: anybody').default([]),
      deadline: Duration.default('72h'),
      on_deadline: z.enum(['hold', 'undo']).describe('hold, undo').default('hold'),
      remind: Duration.default('4h'),
      identity: z.enum(['named', 'signed']).describe('named, signed').default('named'),
    })
    .prefault({}),
  migration: z
    .strictObject({
      soak: Duration.default('24h'),
      source_retention: Duration.default('7d'),
      /** `sha256`: of each object, in the manifest; the copy is read once more and compared with it. */
      digest: z.enum(digests).describe(digests.join(', ')).default('crc32'),
      /** Whether what stores keep behind their current objects moves as well. */
      versions: z.boolean().default(false),
      ...waveSettings,
    })
    .prefault({}),
});
export type Estate = z.infer<typeof Estate>;

/** Sections that a workflow's input may carry; all others come from the worker's own file alone. */
export const inputSections = ['services', 'placement', 'cost'] as const;
export type EstateInput = { [section in (typeof inputSections)[number]]?: { [key: string]: unknown } | undefined };

/** One thing that is wrong. `path` as in YAML tools: `services.iot_core.redundancy`, `providers[0].name`. */
export interface FileError {
  path: string;
  /** From 1; undefined when it came from a workflow's input, which has no lines. */
  line?: number | undefined;
  /** What stands there; a secret's value never does. */
  found: string;
  allowed: string;
  /** All of the above in one sentence. */
  message: string;
}

export interface Warning {
  path: string;
  line?: number | undefined;
  message: string;
}

export type EstateResult =
  | { ok: true; estate: Estate; warnings: Warning[] }
  | { ok: false; errors: FileError[]; warnings: Warning[] };
