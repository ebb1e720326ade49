/** SDK clients of one provider, made on first use, one for each service and subscription. Endpoints are the SDK's own. */
import { AuthorizationManagementClient } from '@azure/arm-authorization';
import { ComputeManagementClient } from '@azure/arm-compute';
import { DnsManagementClient } from '@azure/arm-dns';
import { EventGridManagementClient } from '@azure/arm-eventgrid';
import { EventHubManagementClient } from '@azure/arm-eventhub';
import { IotHubClient } from '@azure/arm-iothub';
import { MonitorClient } from '@azure/arm-monitor';
import { NetworkManagementClient } from '@azure/arm-network';
import { ResourceManagementClient } from '@azure/arm-resources';
import { SubscriptionClient } from '@azure/arm-resources-subscriptions';
import { StorageManagementClient } from '@azure/arm-storage';
import { TrafficManagerManagementClient } from '@azure/arm-trafficmanager';
import { createPipelineRequest, type PipelinePolicy, RestError } from '@azure/core-rest-pipeline';
import {
  type AccessToken,
  ClientSecretCredential,
  DefaultAzureCredential,
  type TokenCredential,
} from '@azure/identity';
import { ContainerClient } from '@azure/storage-blob';
import { QueueClient } from '@azure/storage-queue';
import iothub from 'azure-iothub';
import { z } from 'zod';
import type { ProviderSettings } from '../driver.ts';

/** Repeating is the activity's: a call whose answer was lost must not be repeated unseen, since it may come late. */
const retryOptions = { maxRetries: 0 };
const armScope = 'https://management.azure.com/.default';
const storageScope = 'https://storage.azure.com/.default';
/** A token is renewed so long before it expires. */
const renewMs = 5 * 60_000;

/** What an access token says of whoever asks; only ever read after Entra issued it to us. */
const Claims = z.object({ oid: z.string() });

/** What a role lets its holder do, with `*` for any characters. */
const Granted = z.object({ actions: z.array(z.string()).default([]), notActions: z.array(z.string()).default([]) });

/** `credentials` of the estate file in the SDK's words; left out, the SDK's default chain is used (workload identity). */
function credentialOf({ credentials }: ProviderSettings): TokenCredential {
  const { tenant_id, client_id, client_secret } = credentials ?? {};
  if (!tenant_id || !client_id || !client_secret) return new DefaultAzureCredential({ retryOptions });
  return new ClientSecretCredential(tenant_id, client_id, client_secret, { retryOptions });
}

interface Options {
  retryOptions: typeof retryOptions;
  additionalPolicies: { policy: PipelinePolicy; position: 'perRetry' }[];
}
type Client<T> = new (credential: TokenCredential, subscription: string, options: Options) => T;

/** Gives up a request that has had no answer for so long. */
const deadline = (ms: number): PipelinePolicy => ({
  name: 'deadline',
  sendRequest: (request, next) => {
    request.timeout = ms;
    return next(request);
  },
});

export class AzureClients {
  readonly credential: TokenCredential;
  readonly #made = new Map<string, unknown>();
  readonly #options: Options;
  readonly #callDeadlineMs: number;
  #storageToken: AccessToken | undefined;
  #asked: Promise<AccessToken | null> | undefined;

  constructor(settings: ProviderSettings) {
    this.credential = credentialOf(settings);
    this.#callDeadlineMs = settings.callDeadlineMs;
    this.#options = {
      retryOptions,
      additionalPolicies: [{ policy: deadline(settings.callDeadlineMs), position: 'perRetry' }],
    };
  }

  authorization = (subscription: string): AuthorizationManagementClient =>
    this.#client(AuthorizationManagementClient, subscription);
  compute = (subscription: string): ComputeManagementClient => this.#client(ComputeManagementClient, subscription);
  dns = (subscription: string): DnsManagementClient => this.#client(DnsManagementClient, subscription);
  eventGrid = (subscription: string): EventGridManagementClient =>
    this.#client(EventGridManagementClient, subscription);
  eventHub = (subscription: string): EventHubManagementClient => this.#client(EventHubManagementClient, subscription);
  iotHub = (subscription: string): IotHubClient => this.#client(IotHubClient, subscription);
  monitor = (subscription: string): MonitorClient => this.#client(MonitorClient, subscription);
  network = (subscription: string): NetworkManagementClient => this.#client(NetworkManagementClient, subscription);
  resources = (subscription: string): ResourceManagementClient => this.#client(ResourceManagementClient, subscription);
  storage = (subscription: string): StorageManagementClient => this.#client(StorageManagementClient, subscription);
  trafficManager = (subscription: string): TrafficManagerManagementClient =>
    this.#client(TrafficManagerManagementClient, subscription);
  subscriptions = (): SubscriptionClient => new SubscriptionClient(this.credential, this.#options);

  /** The data plane of one container, by the worker's own identity. */
  container(account: string, container: string): ContainerClient {
    const url = `https://${account}.blob.core.windows.net/${container}`;
    return new ContainerClient(url, this.credential, {
      retryOptions: { maxTries: 1, tryTimeoutInMs: this.#callDeadlineMs },
    });
  }

  /** The data plane of one queue, by the worker's own identity. */
  queue(account: string, queue: string): QueueClient {
    return new QueueClient(`https://${account}.queue.core.windows.net/${queue}`, this.credential, {
      retryOptions: { maxTries: 1, tryTimeoutInMs: this.#callDeadlineMs },
    });
  }

  /** For the byte path: asked of the credential once, not for each object. */
  async storageToken(): Promise<string> {
    if (!this.#storageToken || this.#storageToken.expiresOnTimestamp - Date.now() < renewMs) {
      this.#asked ??= this.credential.getToken(storageScope).finally(() => {
        this.#asked = undefined;
      });
      this.#storageToken = (await this.#asked) ?? undefined;
    }
    return this.#storageToken?.token ?? '';
  }

  /** Object ID in Entra of the identity that the worker runs as: the holder of role assignments. */
  async principal(signal: AbortSignal): Promise<string> {
    const token = await this.credential.getToken(armScope, { abortSignal: signal });
    const payload = token?.token.split('.')[1] ?? '';
    return Claims.parse(JSON.parse(Buffer.from(payload, 'base64url').toString())).oid;
  }

  /** What the worker's roles allow in the subscription. The client has this for resource groups only, and ours does not exist yet. */
  async permissions(subscription: string, signal: AbortSignal): Promise<z.infer<typeof Granted>[]> {
    const url = `https://management.azure.com/subscriptions/${subscription}/providers/Microsoft.Authorization/permissions?api-version=2022-04-01`;
    const request = createPipelineRequest({ url, abortSignal: signal });
    const answer = await this.authorization(subscription).sendRequest(request);
    if (answer.status !== 200)
      throw new RestError('permissions', { statusCode: answer.status, request, response: answer });
    return z.object({ value: z.array(Granted) }).parse(JSON.parse(answer.bodyAsText ?? '{}')).value;
  }

  /** The identities and twins of one IoT hub. The client has no deadline of its own. */
  devices(host: string): iothub.Registry {
    const known = this.#made.get(host);
    if (known instanceof iothub.Registry) return known;
    const registry = iothub.Registry.fromTokenCredential(host, this.credential);
    this.#made.set(host, registry);
    return registry;
  }

  close(): void {
    this.#made.clear();
  }

  #client<T>(Client: Client<T>, subscription: string): T {
    const key = `${Client.name}/${subscription}`;
    const known = this.#made.get(key);
    if (known instanceof Client) return known;
    const client = new Client(this.credential, subscription, this.#options);
    this.#made.set(key, client);
    return client;
  }
}
