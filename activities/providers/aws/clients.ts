/** SDK clients of one provider, made on first use, one for each service and region. Endpoints are the SDK's own. */
import { AutoScalingClient } from '@aws-sdk/client-auto-scaling';
import { EC2Client } from '@aws-sdk/client-ec2';
import { GlueClient } from '@aws-sdk/client-glue';
import { IAMClient } from '@aws-sdk/client-iam';
import { IoTClient } from '@aws-sdk/client-iot';
import { IoTDataPlaneClient } from '@aws-sdk/client-iot-data-plane';
import { KinesisClient } from '@aws-sdk/client-kinesis';
import { Route53Client } from '@aws-sdk/client-route-53';
import { S3Client } from '@aws-sdk/client-s3';
import { ServiceQuotasClient } from '@aws-sdk/client-service-quotas';
import { SQSClient } from '@aws-sdk/client-sqs';
import { STSClient } from '@aws-sdk/client-sts';
import { NodeHttpHandler } from '@smithy/node-http-handler';
import type { ProviderSettings } from '../driver.ts';

interface Settings {
  region: string;
  credentials?: { accessKeyId: string; secretAccessKey: string; sessionToken?: string };
  maxAttempts: number;
  requestHandler: NodeHttpHandler;
}

/** `credentials` of the estate file in the SDK's words; left out, the SDK's default chain is used (workload identity). */
function credentialsOf(settings: ProviderSettings): Pick<Settings, 'credentials'> {
  const { access_key_id, secret_access_key, session_token } = settings.credentials ?? {};
  if (!access_key_id || !secret_access_key) return {};
  return {
    credentials: {
      accessKeyId: access_key_id,
      secretAccessKey: secret_access_key,
      ...(session_token ? { sessionToken: session_token } : {}),
    },
  };
}

export class Clients {
  readonly #settings: ProviderSettings;
  readonly #made = new Map<string, { destroy(): void }>();

  constructor(settings: ProviderSettings) {
    this.#settings = settings;
  }

  autoScaling = (region: string): AutoScalingClient => this.#client('autoscaling', AutoScalingClient, region);
  ec2 = (region: string): EC2Client => this.#client('ec2', EC2Client, region);
  glue = (region: string): GlueClient => this.#client('glue', GlueClient, region);
  /** IAM is one for all regions; its requests are signed for us-east-1. */
  iam = (): IAMClient => this.#client('iam', IAMClient, 'us-east-1');
  iot = (region: string): IoTClient => this.#client('iot', IoTClient, region);
  iotData = (region: string): IoTDataPlaneClient => this.#client('iot-data', IoTDataPlaneClient, region);
  kinesis = (region: string): KinesisClient => this.#client('kinesis', KinesisClient, region);
  /** Route 53 is one for all regions; its requests are signed for us-east-1. */
  route53 = (): Route53Client => this.#client('route53', Route53Client, 'us-east-1');
  s3 = (region: string): S3Client => this.#client('s3', S3Client, region);
  serviceQuotas = (region: string): ServiceQuotasClient => this.#client('servicequotas', ServiceQuotasClient, region);
  sqs = (region: string): SQSClient => this.#client('sqs', SQSClient, region);
  sts = (region: string): STSClient => this.#client('sts', STSClient, region);

  close(): void {
    for (const client of this.#made.values()) client.destroy();
    this.#made.clear();
  }

  #client<T extends { destroy(): void }>(name: string, Client: new (settings: Settings) => T, region: string): T {
    const key = `${name}/${region}`;
    const known = this.#made.get(key);
    if (known instanceof Client) return known;
    const client = new Client({
      region,
      ...credentialsOf(this.#settings),
      // Repeating is the activity's: a call whose answer was lost must not be repeated unseen, since it may come late.
      maxAttempts: 1,
      // HTTP/1.1 also for Kinesis, which would speak HTTP/2: proxies between a worker and the cloud often take no other.
      requestHandler: new NodeHttpHandler({
        connectionTimeout: 10_000,
        requestTimeout: this.#settings.callDeadlineMs,
        throwOnRequestTimeout: true,
      }),
    });
    this.#made.set(key, client);
    return client;
  }
}
