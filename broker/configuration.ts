/**
 * Where the broker's configuration comes from: the attributes of the instance it runs on, read from the metadata server
 * (https://cloud.google.com/compute/docs/metadata/overview). Only what differs between two machines of one group comes
 * from the environment.
 */
import { GoogleAuth } from 'google-auth-library';
import { z } from 'zod';

const Port = z.coerce.number().int().min(1).max(65_535);

const Configuration = z.object({
  project: z.string().min(1),
  /** Bucket with the device registry. */
  registry: z.string().min(1),
  /** `projects/<project>/topics/<topic>`. */
  topic: z.string().regex(/^projects\/[^/]+\/topics\/[^/]+$/),
  /** `projects/<project>/secrets/<secret>`: JSON of the server's certificate and key, PEM. */
  secret: z.string().regex(/^projects\/[^/]+\/secrets\/[^/]+$/),
  /** PEM of the authority that signs device certificates, if there is one. */
  deviceAuthority: z.string().optional(),
  /** PEM of the authority whose devices are registered when they first connect, if there is one. */
  justInTimeAuthority: z.string().optional(),
  host: z.string(),
  mqttPort: Port,
  healthPort: Port,
  /** How long it answers "not healthy" before it closes connections, so that the load balancer sends no new ones. */
  drainMs: z.coerce.number().int().min(0),
  /** How often the registry is looked through for devices that were disabled or removed. */
  registryScanMs: z.coerce.number().int().min(100),
});
export type Configuration = z.infer<typeof Configuration>;

const metadataHost = (): string => process.env.GCE_METADATA_HOST ?? 'metadata.google.internal';

async function metadata(path: string): Promise<string | undefined> {
  const response = await fetch(`http://${metadataHost()}/computeMetadata/v1/${path}`, {
    headers: { 'Metadata-Flavor': 'Google' },
    signal: AbortSignal.timeout(10_000),
  });
  if (response.status === 404) return undefined;
  if (!response.ok) throw new Error(`the metadata server answered ${response.status} for ${path}`);
  return response.text();
}

export async function readConfiguration(env: NodeJS.ProcessEnv): Promise<Configuration> {
  const attribute = (name: string): Promise<string | undefined> => metadata(`instance/attributes/${name}`);
  const [project, registry, topic, secret, deviceAuthority, justInTimeAuthority, registryScan] = await Promise.all([
    metadata('project/project-id'),
    attribute('broker-registry'),
    attribute('broker-topic'),
    attribute('broker-secret'),
    attribute('broker-device-authority'),
    attribute('broker-just-in-time-authority'),
    attribute('broker-registry-scan-ms'),
  ]);
  return Configuration.parse({
    project,
    registry,
    topic,
    secret,
    deviceAuthority: deviceAuthority || undefined,
    justInTimeAuthority: justInTimeAuthority || undefined,
    host: env.BROKER_HOST ?? '0.0.0.0',
    mqttPort: env.BROKER_MQTT_PORT ?? 8883,
    healthPort: env.BROKER_HEALTH_PORT ?? 8080,
    drainMs: env.BROKER_DRAIN_MS ?? 10_000,
    registryScanMs: registryScan ?? 30_000,
  });
}

/** The payload of the secret that provisioning wrote (`server-certificate`). */
const ServerKeyPair = z.object({ cert: z.string(), key: z.string() });
export type ServerKeyPair = z.infer<typeof ServerKeyPair>;

const SecretVersion = z.object({ payload: z.object({ data: z.string() }) });

/** Reads the server's key with the instance's service account; it exists in memory only. */
export async function readServerKeyPair(project: string, secret: string): Promise<ServerKeyPair> {
  // With the project given the library does not go looking for it (it would run `gcloud` where there is one).
  const auth = new GoogleAuth({ projectId: project, scopes: ['https://www.googleapis.com/auth/cloud-platform'] });
  const { data } = await auth.request({
    url: `https://secretmanager.googleapis.com/v1/${secret}/versions/latest:access`,
    timeout: 10_000,
  });
  const bytes = Buffer.from(SecretVersion.parse(data).payload.data, 'base64');
  return ServerKeyPair.parse(JSON.parse(bytes.toString('utf8')));
}
