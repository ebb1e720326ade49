/** What a worker is told when it starts: one JSON file, named by `MULTI_CLOUD_SETTINGS` or `--settings`. Nothing of it comes from a workflow's input. */
import { readFileSync } from 'node:fs';
import { z } from 'zod';
import { SmtpSettings } from '../activities/notify/mail.ts';
import { TemporalSettings } from '../temporal/connection.ts';

export const WorkerSettings = z.strictObject({
  /** The estate file this worker serves; read again by each run's first activity. */
  estateFile: z.string(),
  temporal: TemporalSettings,
  /** Key file of the payload codec; without one, histories are plain. Default: `MULTI_CLOUD_CODEC_KEYS`. */
  codecKeys: z.string().optional(),
  /** Names that `${NAME}` in a secret field may refer to. Default: the seed's. */
  allowedNames: z.array(z.string()).optional(),
  /**
   * File of `NAME=value` lines that `${NAME}` is looked up in before the environment. It is read again when a cloud says that
   * credentials are no longer valid, so a rotated key needs no restart.
   */
  secretsFile: z.string().optional(),
  /** Folder with the dated sheets: `prices/`, `facts/` and `permissions/`. */
  sheets: z.string().default('config'),
  /** PEM file of the certificate authority that signs device certificates. */
  deviceCa: z.string().optional(),
  /**
   * File with the private key that redirects of devices are signed by, 32 bytes in base64: for the role `sender` alone. Its public
   * key is built into the devices.
   */
  redirectKeyFile: z.string().optional(),
  /**
   * PEM files of the fleet's own authority, a key on P-256, which makes certificates for devices whose own ones a cloud cannot take:
   * for the role `sender` alone. Without it such devices stay.
   */
  claimAuthority: z.strictObject({ certificateFile: z.string(), keyFile: z.string() }).optional(),
  /** Tarball of the MQTT broker that GCP's `iot_core` runs. */
  brokerTarball: z.string().optional(),
  /** How often a long-running operation of a cloud is looked at, milliseconds. */
  pollMs: z.number().int().min(10).default(5000),
  /** Waits that depend on how far away the clouds are; tests shrink them. Milliseconds. */
  waits: z
    .strictObject({
      /** Longest that one call to a cloud may take before it is given up. */
      callDeadlineMs: z.number().int().default(60_000),
      /** How long after that a call that was given up may still take effect in the cloud. */
      settleMs: z.number().int().default(60_000),
      /** How long a blocked run waits before it looks again. */
      blockedMs: z.number().int().default(300_000),
      /** Longest wait until a fence holds everywhere; the cloud may say less. Shorter than it says, and writes may be lost. */
      fenceMs: z.number().int().min(0).default(420_000),
      /** From the end of one pass over the listing of a store that is followed to the begin of the next. */
      followMs: z.number().int().min(10).default(15_000),
      /** How long a task for the role `sender` may wait before the run says that nobody plays it; left out: two minutes. */
      unservedMs: z.number().int().min(1000).optional(),
    })
    .prefault({}),
  /** How long the records buckets keep the audit trail and the records, days. */
  recordsDays: z.number().int().min(1).default(400),
  /** The mail server that alerts go through, with the sender's address; without it channels of type `email` are not told. */
  smtp: SmtpSettings.optional(),
  /** `host:port` on which metrics are served in the format of Prometheus; without it they are not. */
  metricsAddress: z
    .string()
    .regex(/^[^\s:]+:[0-9]{1,5}$/, 'must be host:port')
    .optional(),
  /** Address of the Temporal UI, printed with links to runs. */
  ui: z.string().optional(),
});
export type WorkerSettings = z.infer<typeof WorkerSettings>;

export function readSettings(file = process.env.MULTI_CLOUD_SETTINGS): WorkerSettings {
  if (!file)
    throw new Error(
      'MULTI_CLOUD_SETTINGS is not set: it names the JSON file with the settings of this worker (see docs/operate.md)',
    );
  const parsed = WorkerSettings.safeParse(JSON.parse(readFileSync(file, 'utf8')));
  if (!parsed.success) throw new Error(`${file}: ${z.prettifyError(parsed.error)}`);
  return parsed.data;
}
