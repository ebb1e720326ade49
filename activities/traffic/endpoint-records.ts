/** The endpoint records of an estate, in the DNS zone that its file names. What a record is: `model/endpoint-record.ts`. */
import { isDeepStrictEqual } from 'node:util';
import { ApplicationFailure } from '@temporalio/activity';
import {
  EndpointRecord,
  type EndpointZone,
  endpointName,
  endpointValues,
  parseEndpointRecord,
  sameEndpoints,
} from '../../model/endpoint-record.ts';
import { CloudError } from '../../model/errors.ts';
import type { Provider, TxtRecords } from '../providers/driver.ts';
import { guarded } from '../providers/provision.ts';

/**
 * Served on the queues of the provider that holds the zone. `NotFound` where the zone does not exist; `NotOurs` where
 * something else stands under the record's name.
 */
export interface EndpointActivities {
  readEndpointRecord(input: { at: EndpointZone; service: string; uid: string }): Promise<EndpointRecord | null>;
  /** Records of several services; what is in the way of writing one is told instead of thrown, and its service left out. */
  inspectEndpointRecords(input: {
    at: EndpointZone;
    uid: string;
    services: readonly string[];
  }): Promise<{ found: Record<string, EndpointRecord | null>; problems: string[] }>;
  /**
   * Replaces the record in one step and waits until the zone's name servers answer with it; nothing is done where it stands
   * there already. With `expected` only over that very record (null: over none), else `TrafficSwitchFailed`: read first, and
   * let a compensation write back what was read. `before`: what was expected, or stood there.
   */
  writeEndpointRecord(input: {
    at: EndpointZone;
    record: EndpointRecord;
    expected?: EndpointRecord | null;
  }): Promise<{ before: EndpointRecord | null; changed: boolean }>;
  removeEndpointRecord(input: {
    at: EndpointZone;
    service: string;
    uid: string;
    expected?: EndpointRecord;
  }): Promise<{ before: EndpointRecord | null; changed: boolean }>;
}

export interface EndpointDependencies {
  /** Runs an act with a provider whose credentials belong to the account. */
  atAccount<T>(
    place: { provider: string; account: string; resource: string },
    act: (provider: Provider, signal: AbortSignal) => Promise<T>,
  ): Promise<T>;
  /** Whether an earlier attempt may have changed something and lost the answer. */
  isRepeated(): boolean;
}

/** Somebody else changed the record between our look and our change. */
const conflicts = ['AlreadyExists', 'PreconditionFailed', 'NotFound'];

export function createEndpointActivities({ atAccount, isRepeated }: EndpointDependencies): EndpointActivities {
  /** What stands there; refused where it is not the record of that service of the estate. */
  async function find(
    provider: Provider,
    { at, service, uid }: { at: EndpointZone; service: string; uid: string },
    signal: AbortSignal,
  ): Promise<{ records: TxtRecords | undefined; record: EndpointRecord | null }> {
    const name = endpointName({ service, zone: at.zone });
    const records = await guarded(provider, 'find the endpoint record', name, () =>
      provider.dns.find({ ...at, name }, signal),
    );
    if (!records) return { records, record: null };
    const record = parseEndpointRecord(records.values);
    if (record?.uid === uid && record.service === service) return { records, record };
    throw new CloudError(
      { kind: 'NotOurs', provider: provider.type, operation: 'endpoint record', resource: name },
      record
        ? `a record of the service ${record.service} of the estate with the UID ${record.uid} stands there; nothing was changed. Name another zone in \`traffic\`, or remove that record`
        : 'a TXT record stands there that is no endpoint record; nothing was changed. Move it to another name, or name another zone in `traffic`',
    );
  }

  /** Brings the record to `wanted` (null: none), over `expected` where that is given. */
  async function bring(
    provider: Provider,
    input: { at: EndpointZone; service: string; uid: string; expected: EndpointRecord | null | undefined },
    wanted: EndpointRecord | null,
    signal: AbortSignal,
  ): Promise<{ before: EndpointRecord | null; changed: boolean }> {
    const { at, service, expected } = input;
    const name = endpointName({ service, zone: at.zone });
    const after = wanted ? { ttlSeconds: wanted.ttlSeconds, values: endpointValues(wanted) } : undefined;
    for (let tries = 3; ; tries--) {
      const { records: before, record } = await find(provider, input, signal);
      const stands = isDeepStrictEqual(plain(before), plain(after));
      // The earlier attempt's change may not be everywhere yet: the same one again is waited for.
      if (stands && !(before && isRepeated()))
        return { before: expected === undefined ? record : expected, changed: false };
      if (!stands && expected !== undefined && !sameEndpoints(record, expected))
        throw ApplicationFailure.nonRetryable(
          `${at.provider}: ${name} is ${shown(record)}, and ${shown(expected)} was expected; nothing was changed. Somebody else has switched it meanwhile: look at it, then start again or undo.`,
          'TrafficSwitchFailed',
        );
      try {
        await guarded(provider, 'change the endpoint record', name, () =>
          provider.dns.replace({ ...at, name, before, after }, signal),
        );
        return { before: expected === undefined ? record : expected, changed: !stands };
      } catch (error) {
        if (tries === 1 || !(error instanceof CloudError) || !conflicts.includes(error.kind)) throw error;
      }
    }
  }

  return {
    readEndpointRecord: (input) =>
      atAccount(
        { ...input.at, resource: input.service },
        async (provider, signal) => (await find(provider, input, signal)).record,
      ),

    inspectEndpointRecords: ({ at, uid, services }) =>
      atAccount({ ...at, resource: at.zone }, async (provider, signal) => {
        const found: Record<string, EndpointRecord | null> = {};
        const problems: string[] = [];
        for (const service of services)
          try {
            found[service] = (await find(provider, { at, service, uid }, signal)).record;
          } catch (error) {
            if (!(error instanceof CloudError) || !['NotFound', 'NotOurs'].includes(error.kind)) throw error;
            problems.push(error.message);
            if (error.kind === 'NotFound') break; // the zone: it would be the same for each
          }
        return { found, problems };
      }),

    writeEndpointRecord: ({ at, record: given, expected }) => {
      const parsed = EndpointRecord.safeParse(given);
      if (!parsed.success) {
        const [issue] = parsed.error.issues;
        throw ApplicationFailure.nonRetryable(`record.${issue?.path.join('.')}: ${issue?.message}`, 'InvalidInput');
      }
      const { service, uid } = parsed.data;
      return atAccount({ ...at, resource: service }, (provider, signal) =>
        bring(provider, { at, service, uid, expected }, parsed.data, signal),
      );
    },

    removeEndpointRecord: ({ at, service, uid, expected }) =>
      atAccount({ ...at, resource: service }, (provider, signal) =>
        bring(provider, { at, service, uid, expected }, null, signal),
      ),
  };
}

/** The order of a record's values means nothing. */
const plain = (records: Omit<TxtRecords, 'version'> | undefined): unknown =>
  records && [records.ttlSeconds, records.values.toSorted()];

const shown = (record: EndpointRecord | null): string =>
  record ? record.endpoints.map(({ provider, url }) => `${provider} (${url})`).join(', ') : 'no record';
