/** What a resource provider tells the ARM core of each of its resource types, as data and small pure functions. */
import type { Properties } from './accept.ts';

/** A change that takes time. It is over at `until`, also when the emulator was stopped in between. */
export interface Phase {
  state: 'Creating' | 'Updating' | 'Deleting';
  until: number;
}

/** A resource as it is stored: `properties` hold what is shown and what only the service knows. */
export interface Stored {
  id: string;
  name: string;
  type?: string;
  location?: string | undefined;
  tags?: Record<string, string> | undefined;
  sku?: unknown;
  identity?: unknown;
  kind?: unknown;
  zones?: unknown;
  etag?: string;
  properties: Properties;
  phase?: Phase | undefined;
}

/** What a PUT or PATCH is about. */
export interface Asked {
  subscription: string;
  tenant: string;
  name: string;
  id: string;
  body: Properties;
  before: Stored | undefined;
  /** Nearest first. */
  parents: readonly Stored[];
  /** All resources of a type. */
  list(type: string): Iterable<Stored>;
}

/** What the type itself has to say; id, name, type, location, tags and etag are the core's. */
export interface Made {
  sku?: unknown;
  identity?: unknown;
  kind?: unknown;
  zones?: unknown;
  properties: Properties;
}

export interface ArmKind {
  /** `Microsoft.EventHub/namespaces/eventhubs`. */
  type: string;
  /** Takes location and tags. */
  tracked: boolean;
  /** Status of a PUT that created and of one that changed; of a DELETE that found something. 202 answers a Location to ask. */
  statuses: { created: 200 | 201 | 202; updated: 200 | 201 | 202; deleted: 200 | 202 | 204 };
  /** PUT and DELETE take time: `provisioningState` and an operation to ask for. `create`: DELETE is done at once. */
  longRunning: boolean | 'create';
  /** A PUT on what exists needs its etag. */
  ifMatch: boolean;
  /** Names are unique in all of Azure, and held for a while after a deletion. */
  global: boolean;
  /** An extension whose `properties.scope` holds for all below: a list at a scope tells those from above, too. */
  inherited?: boolean;
  make(asked: Asked): Made;
  /** What a PATCH of more than tags makes; undefined: tags only. */
  patch?: (asked: Asked) => Made;
  /** What a reader sees; undefined: all of it. */
  show?: (made: Made, provisioningState: string) => Made;
  /** POST and GET actions below the resource, by lower-case name. */
  actions?: Record<string, (stored: Stored) => unknown>;
  removed?: (stored: Stored) => void | Promise<void>;
  /** It exists with its parent, looking like this until the first PUT. */
  implicit?: (parent: Stored) => Made;
  /** Children that a new one is born with. */
  children?: () => { type: string; name: string; properties: Properties }[];
  /** Done before a PUT is stored and answered; may happen twice. */
  made?: (stored: Stored) => Promise<void>;
  /** Throws when something still uses it. */
  checkRemoval?: (stored: Stored, list: (type: string) => Iterable<Stored>) => void;
  /** Codes of refusals, where they are not ARM's general ones. */
  codes?: { missing?: string; taken?: string };
}

/** What the data planes ask of the ARM core. Types and IDs in any case; what is being created or deleted is not there. */
export interface ArmReader {
  get(id: string): Stored | undefined;
  list(type: string): Iterable<Stored>;
  /** Whether role assignments on the resource or above let the principal do the data action. */
  allows(principal: string, action: string, resource: string): boolean;
}
