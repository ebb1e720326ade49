/** The vocabulary of the estate: clouds, service types, placements and what a placement is made of. */

export const providerTypes = ['aws', 'azure', 'gcp'] as const;
/** A cloud that a driver exists for. A provider in the estate file has a `name` of its own; its `type` is one of these. */
export type ProviderType = (typeof providerTypes)[number];

export const serviceTypes = [
  'iot_core',
  'data_lake',
  'compute',
  'storage',
  'database',
  'messaging',
  'analytics',
] as const;
export type ServiceType = (typeof serviceTypes)[number];

/** Types whose resources hold what exists nowhere else: removing one needs a confirmation (`protect`). */
export const statefulTypes: readonly ServiceType[] = ['iot_core', 'storage', 'data_lake', 'database'];

/** Types whose placements are stores of objects. */
export const objectTypes: readonly ServiceType[] = ['storage', 'data_lake'];
/** Types whose placements are kept in step where the file wishes it: their objects, or their devices. */
export const replicatedTypes: readonly ServiceType[] = [...objectTypes, 'iot_core'];

export type Json = string | number | boolean | null | Json[] | { [key: string]: Json };
export type JsonObject = { [key: string]: Json };

/** The seven configurations of the estate file after validation; each type reads its own keys. */
export type Configuration = JsonObject;

/**
 * Who a resource belongs to. Written on every resource as tags or labels, and read back before anything is changed:
 * a resource whose owner differs is `NotOurs`.
 */
export interface Owner {
  /** Estate name, `[a-z][a-z0-9-]{0,23}`. */
  estate: string;
  /** Random identity of the estate, 32 hex digits, made at the first deploy. */
  uid: string;
  /** Key of the service in the estate file. */
  service: string;
  /** Temporal namespace ID: two installations that share an account do not touch each other's resources. */
  controller: string;
  /** Rises after a remove or an undo, since deleted names stay taken for a while. From 1. */
  generation: number;
}

/** One service on one cloud. */
export interface Placement {
  owner: Owner;
  type: ServiceType;
  /** Name of the provider in the estate file. */
  provider: string;
  providerType: ProviderType;
  /** The cloud's own region name. */
  region: string;
  /** AWS account ID, Azure subscription ID or GCP project ID. */
  account: string;
  configuration: Configuration;
}

/** One cloud resource of a placement: what it is called and what it must look like. Pure data, computed by the cell's `design`. */
export interface ResourceSpec {
  /** Unique in the placement and stable over releases: `bucket`, `network`. */
  key: string;
  /** `<provider>.<service>.<resource>`, the key of its driver: `aws.s3.bucket`. */
  kind: string;
  /** Its name in the cloud. */
  name: string;
  /** Keys of the resources of this placement that must be ready before it. */
  needs: string[];
  /** What `observe` must find: compared key by key with `Observed.properties`. Never a secret. */
  desired: JsonObject;
  /** It can hold bytes that exist nowhere else: an undo detaches it instead of deleting it once it is not empty. */
  holdsData: boolean;
}

/** What dependants and people need to know of a ready resource: IDs, URLs. Strings only, never a secret. */
export type Outputs = Record<string, string>;
