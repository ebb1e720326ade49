/** The endpoint records of an estate, in the DNS zone that its file names. What a record is: `model/endpoint-record.ts`. */
import type { EndpointRecord, EndpointZone } from '../../model/endpoint-record.ts';

/**
 * Served on the queues of the provider that holds the zone. `NotFound` where the zone does not exist; `NotOurs` where
 * something else stands under the record's name.
 */
export interface EndpointActivities {
  readEndpointRecord(input: { at: EndpointZone; service: string; uid: string }): Promise<EndpointRecord | null>;
  /**
   * Replaces the record in one step and waits until the zone's name servers answer with it; nothing is done where it stands
   * there already. With `expected` only over that very record (null: over none), else `TrafficSwitchFailed`. `before` is what
   * a compensation writes back.
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
