/**
 * Following where a service is: its endpoint record, asked of DNS as often as its TTL says. For programs that read from or write
 * to a store which may move to another cloud.
 *
 *     const followed = followEndpoint({ service: 'firmware', zone: 'iot.example.com', onChange: ({ endpoints }) => use(endpoints) });
 *     …
 *     followed.refresh(); // the store has refused a write: it may have moved
 *     followed.stop();
 */
import { Resolver } from 'node:dns/promises';
import { isDeepStrictEqual } from 'node:util';
import { type EndpointRecord, endpointName, parseEndpointRecord } from '../model/endpoint-record.ts';

export interface EndpointOptions {
  /** Key of the service in the estate file. */
  service: string;
  /** `traffic.zone` of the estate file. */
  zone: string;
  /** Name servers, `address` or `address:port`; the system's own where left out. */
  servers?: readonly string[];
}

export interface FollowOptions extends EndpointOptions {
  /** Told of the record when it is first found, and of each one that differs from the last. */
  onChange: (record: EndpointRecord) => void;
  /** Told of what could not be asked, is not there or is no endpoint record. What was found last still holds; it is asked again. */
  onError?: (error: Error) => void;
}

export interface FollowedEndpoint {
  /** What was found last. */
  readonly current: EndpointRecord | undefined;
  /** Asks again now, or a second after the last time: for a program that was refused where it went. */
  refresh(): void;
  stop(): void;
}

/** Between two questions: after one that was not answered, and at the least. */
const retryMs = 5000;
const leastMs = 1000;

/** The record as name servers have it now. */
export async function resolveEndpoint({ service, zone, servers }: EndpointOptions): Promise<EndpointRecord> {
  const resolver = new Resolver({ timeout: 2000, tries: 2 });
  if (servers) resolver.setServers([...servers]);
  const name = endpointName({ service, zone });
  const record = parseEndpointRecord((await resolver.resolveTxt(name)).map((strings) => strings.join('')));
  if (record?.service !== service) throw new Error(`${name} is not the endpoint record of ${service}`);
  return record;
}

export function followEndpoint({ onChange, onError = () => {}, ...endpoint }: FollowOptions): FollowedEndpoint {
  let current: EndpointRecord | undefined;
  let askedAt = 0;
  let stopped = false;
  let timer: NodeJS.Timeout | undefined;

  function next(ms: number): void {
    clearTimeout(timer);
    if (!stopped) timer = setTimeout(() => void ask(), ms);
  }
  async function ask(): Promise<void> {
    askedAt = Date.now();
    try {
      const record = await resolveEndpoint(endpoint);
      if (stopped) return;
      const changed = !isDeepStrictEqual(record, current);
      current = record;
      next(record.ttlSeconds * 1000);
      if (changed) onChange(record);
    } catch (error) {
      next(retryMs);
      onError(error instanceof Error ? error : new Error(String(error)));
    }
  }
  void ask();

  return {
    get current() {
      return current;
    },
    refresh: () => next(Math.max(0, askedAt + leastMs - Date.now())),
    stop() {
      stopped = true;
      clearTimeout(timer);
    },
  };
}
