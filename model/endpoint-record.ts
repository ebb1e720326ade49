/**
 * The endpoint record of a service: `TXT <service>.<zone>`, one value a placement that readers and writers may go to.
 *
 *     firmware.iot.example.com. 30 IN TXT "v=mc1 ttl=30 uid=… service=firmware provider=gcp region=europe-west1 url=https://…"
 *
 * `ttl` repeats the record's TTL, in seconds: many resolvers' interfaces (Node's among them) do not tell it of a TXT record, and
 * who follows a service must know how long an answer holds. A value longer than 255 bytes stands as several strings, which a reader joins without a space (RFC 7208, 3.3). The UID is
 * the estate's: a record whose values do not all bear it is somebody else's and never touched.
 */
import { z } from 'zod';

export const Uid = z.string().regex(/^[0-9a-f]{32}$/, 'must be 32 hex digits');
export const Key = z.string().regex(/^[a-z][a-z0-9_-]{0,30}$/, 'must match [a-z][a-z0-9_-]{0,30}');
const Ttl = z.int().min(1).max(2_147_483_647);
const Endpoint = z.strictObject({
  /** Name of the provider in the estate file. */
  provider: Key,
  region: z.string().regex(/^[a-z0-9-]{1,40}$/, 'must match [a-z0-9-]{1,40}'),
  /** A URL, or what the cloud calls the place: `projects/…/topics/…`, an ARN. */
  url: z
    .string()
    .regex(/^[!#-[\]-~]{1,800}$/, 'must be printable ASCII without spaces, quotes and backslashes, at most 800'),
});
export type Endpoint = z.infer<typeof Endpoint>;

export const EndpointRecord = z.strictObject({
  uid: Uid,
  /** Key of the service in the estate file. */
  service: Key,
  ttlSeconds: Ttl,
  endpoints: z.array(Endpoint).min(1).max(20),
});
export type EndpointRecord = z.infer<typeof EndpointRecord>;

/** Where the endpoint records of an estate stand: `traffic` of its file, and the account that the zone must be in. */
export interface EndpointZone {
  /** Name of the provider that holds the zone. */
  provider: string;
  account: string;
  /** `iot.example.com` */
  zone: string;
}

/**
 * The record's name. Host names take no underscore, so each `_` of the service's key becomes `-`, and hyphens at its end are
 * left out: `iot_core` is `iot-core`. Two services whose keys differ in nothing else can't both have a record; the second
 * one is refused, since each value names its service.
 */
export const endpointName = ({ service, zone }: { service: string; zone: string }): string =>
  `${serviceLabel(service)}.${zone}`;
export const serviceLabel = (service: string): string => service.replaceAll('_', '-').replace(/-+$/, '');

const Value = z.strictObject({
  v: z.literal('mc1'),
  ttl: z
    .string()
    .regex(/^[0-9]{1,10}$/)
    .transform(Number)
    .pipe(Ttl),
  uid: Uid,
  service: Key,
  ...Endpoint.shape,
});

/** The values of the record, in an order of their own, so that the same record always reads the same. */
export const endpointValues = ({ uid, service, ttlSeconds, endpoints }: EndpointRecord): string[] =>
  endpoints
    .map(
      ({ provider, region, url }) =>
        `v=mc1 ttl=${ttlSeconds} uid=${uid} service=${service} provider=${provider} region=${region} url=${url}`,
    )
    .sort();

/** What stands under the name; undefined where it is not wholly a record of one service of one estate. */
export function parseEndpointRecord(values: readonly string[]): EndpointRecord | undefined {
  const parsed = [...values].sort().map((value) => {
    const words = value.split(' ').map((word) => word.split(/=(.*)/s, 2));
    return Value.safeParse(Object.fromEntries(words)).data;
  });
  const [first] = parsed;
  const endpoints = parsed.flatMap((one) =>
    one && one.uid === first?.uid && one.service === first.service && one.ttl === first.ttl
      ? [{ provider: one.provider, region: one.region, url: one.url }]
      : [],
  );
  if (!first || endpoints.length !== parsed.length) return undefined;
  return EndpointRecord.safeParse({ uid: first.uid, service: first.service, ttlSeconds: first.ttl, endpoints }).data;
}

/** Whether two records tell the same, in whatever order. */
export const sameEndpoints = (a: EndpointRecord | null, b: EndpointRecord | null): boolean =>
  JSON.stringify(a && endpointValues(a)) === JSON.stringify(b && endpointValues(b));
