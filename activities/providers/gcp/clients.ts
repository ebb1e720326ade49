/** SDK clients of one provider, made on first use. Endpoints are the SDKs' own; all speak HTTP/1.1 with JSON. */
import { readFileSync } from 'node:fs';
import type { BigQuery } from '@google-cloud/bigquery';
import type { v1 } from '@google-cloud/pubsub';
import { Storage } from '@google-cloud/storage';
import { GoogleAuth, JWT } from 'google-auth-library';
import { z } from 'zod';
import { CloudError } from '../../../model/errors.ts';
import type { ProviderSettings } from '../driver.ts';
import { type ComputeClients, computeClients } from './compute-clients.ts';
import { type Rest, rest } from './rest.ts';

const KeyFile = z.looseObject({ project_id: z.string() });

/** `project` of the provider, else that of its credentials: the key file's own, or what stands beside it. */
function projectOf({ name, account, credentials }: ProviderSettings): string {
  const known = account ?? credentials?.project_id;
  if (known) return known;
  const field = { provider: name, operation: 'connect', resource: `providers.${name}` };
  if (!credentials?.key_file)
    throw new CloudError({ ...field, kind: 'InvalidInput' }, '`project` or `credentials.project_id` is missing');
  try {
    return KeyFile.parse(JSON.parse(readFileSync(credentials.key_file, 'utf8'))).project_id;
  } catch {
    throw new CloudError({ ...field, kind: 'Unauthenticated' }, 'the key file cannot be read, or is not one');
  }
}

/** For calls that change something: the library must not repeat them by itself. */
export const once = { retry: null };

interface PubSubClients {
  topics: v1.PublisherClient;
  subscriptions: v1.SubscriberClient;
}

export class Clients {
  readonly project: string;
  readonly rest: Rest;
  readonly compute: () => Promise<ComputeClients>;
  /** Whom policies name where they mean this worker. */
  readonly member: () => Promise<string>;
  /** Of the key file; left out, the SDK's default chain is used: workload identity. */
  readonly #key: { authClient?: JWT };
  /** The same for clients that are generated, which have another version of the library. */
  readonly #keyFile: { keyFilename?: string };
  /** Longest that one request may take, milliseconds. */
  readonly deadlineMs: number;
  #storage: Storage | undefined;
  #bigQuery: Promise<BigQuery> | undefined;
  #pubsub: Promise<PubSubClients> | undefined;

  constructor(settings: ProviderSettings) {
    this.project = projectOf(settings);
    this.deadlineMs = settings.callDeadlineMs;
    const scopes = ['https://www.googleapis.com/auth/cloud-platform'];
    const keyFile = settings.credentials?.key_file;
    this.#keyFile = keyFile ? { keyFilename: keyFile } : {};
    this.#key = keyFile ? { authClient: new JWT({ keyFile, scopes }) } : {};
    const auth = new GoogleAuth({ ...this.#key, projectId: this.project, scopes });
    this.rest = rest(auth, settings.callDeadlineMs);
    this.member = async () => {
      const { client_email } = await (this.#key.authClient ?? auth).getCredentials();
      if (client_email) return `serviceAccount:${client_email}`;
      throw new CloudError(
        { provider: settings.name, operation: 'getCredentials', resource: 'credentials', kind: 'InvalidInput' },
        'they do not tell which service account they are: use a key file, or an attached service account',
      );
    };
    this.compute = computeClients({ project: this.project, ...this.#keyFile });
  }

  /** Repeating is the activity's: a call whose answer was lost must not be repeated unseen, since it may come late. */
  storage = (): Storage => {
    this.#storage ??= new Storage({
      ...this.#key,
      projectId: this.project,
      timeout: this.deadlineMs,
      retryOptions: { autoRetry: false, maxRetries: 0 },
    });
    return this.#storage;
  };

  /** For the byte path; the library keeps it and renews it before it expires. */
  token = async (): Promise<string> => (await this.storage().authClient.getAccessToken()) ?? '';

  bigQuery = (): Promise<BigQuery> => {
    this.#bigQuery ??= import('@google-cloud/bigquery').then(
      (sdk) => new sdk.BigQuery({ ...this.#key, projectId: this.project, autoRetry: false, maxRetries: 0 }),
    );
    return this.#bigQuery;
  };

  pubsub = (): Promise<PubSubClients> => {
    this.#pubsub ??= import('@google-cloud/pubsub').then((sdk) => {
      // REST instead of gRPC: no second protocol to let through a proxy for a few calls.
      const topics = new sdk.v1.PublisherClient({ ...this.#keyFile, projectId: this.project, fallback: true });
      const subscriptions = new sdk.v1.SubscriberClient({ projectId: this.project, fallback: true, auth: topics.auth });
      return { topics, subscriptions };
    });
    return this.#pubsub;
  };

  async close(): Promise<void> {
    const pubsub = await this.#pubsub;
    await Promise.all([pubsub?.topics.close(), pubsub?.subscriptions.close()]);
  }
}
