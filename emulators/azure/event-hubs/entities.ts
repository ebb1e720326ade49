/** What the data plane of Event Hubs needs to know of what was made through ARM. */

export type Right = 'Listen' | 'Send' | 'Manage';

export interface AccessKey {
  name: string;
  primary: string;
  secondary: string;
  rights: readonly Right[];
  /** Entity that the policy is defined on; undefined for one of the whole namespace. */
  entity?: string | undefined;
}

/** An event hub, or the Event Hub-compatible endpoint that every IoT hub has. */
export interface EventHub {
  /** Never used twice: a hub made again under an old name starts empty. Letters, digits and `-`. */
  id: string;
  /** `<namespace>.servicebus.windows.net`. */
  host: string;
  name: string;
  partitions: number;
  retentionMs: number;
  createdMs: number;
  consumerGroups: readonly string[];
  keys: readonly AccessKey[];
  /** The namespace takes shared access signatures (`disableLocalAuth` is false). */
  localAuth: boolean;
  /** Whether role assignments on the hub, its namespace or above let this principal (object ID) do it. */
  allows(principal: string, right: Right): boolean;
}

export interface Directory {
  find(host: string, name: string): EventHub | undefined;
}

/** The object ID in a valid Entra access token for this audience; undefined for anything else. */
export type EntraTokens = (token: string, audience: string) => { principal: string; expiresMs: number } | undefined;
