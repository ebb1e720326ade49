/**
 * The device registry of GCP's `iot_core`: one JSON object a device, `devices/<id>.json` in the placement's bucket. The
 * broker reads it; provisioning, device migration and the canary write it under a generation precondition.
 */
import { z } from 'zod';

/** What may stand in an MQTT client ID, a topic level, a certificate's common name and an object name alike. */
export const DeviceId = z.string().regex(/^[A-Za-z0-9][A-Za-z0-9._:-]{0,127}$/);

export const RegisteredDevice = z.strictObject({
  v: z.literal(1),
  id: DeviceId,
  /** A disabled device is cut off at the next look at the registry and refused from then on. */
  status: z.enum(['enabled', 'disabled']),
  /**
   * `thumbprint`: exactly these certificates (SHA-256 over DER, lower case hex), two while a key is being replaced.
   * `authority`: any certificate for this ID that the placement's device CA has signed.
   */
  authentication: z.discriminatedUnion('type', [
    z.strictObject({
      type: z.literal('thumbprint'),
      thumbprints: z
        .array(z.string().regex(/^[0-9a-f]{64}$/))
        .min(1)
        .max(2),
    }),
    z.strictObject({ type: z.literal('authority') }),
  ]),
  /** Free text of the operator: model, site. */
  attributes: z.record(z.string(), z.string()).default({}),
  /** Names of the groups that it is in. */
  groups: z.array(z.string()).optional(),
  /** What the device is to be like: told to it under `devices/<id>/config` when it subscribes, and at each change. */
  desired: z.record(z.string(), z.json()).optional(),
  /** State as the device has told; kept for whoever moves the fleet. */
  reported: z.record(z.string(), z.json()).optional(),
  /** The certificates themselves, base64 of DER, by thumbprint: for the way to a cloud that must have them. */
  certificates: z.record(z.string(), z.base64()).optional(),
  /** Mark of the copy that made it. */
  copiedBy: z.string().optional(),
});
export type RegisteredDevice = z.infer<typeof RegisteredDevice>;

const folder = 'devices/';
const suffix = '.json';

export const devicesPrefix = folder;

export const deviceObject = (id: string): string => `${folder}${id}${suffix}`;

/** The device that an object of the registry describes, or undefined for another object. */
export const deviceOfObject = (name: string): string | undefined =>
  name.startsWith(folder) && name.endsWith(suffix) ? name.slice(folder.length, -suffix.length) : undefined;
