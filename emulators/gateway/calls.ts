/** What was called: the newest calls through the gateway, for tests and for people who want to see what a deployment did. */
import type { IncomingMessage } from 'node:http';
import { callerOf } from './callers.ts';
import type { Route } from './routes.ts';

export interface Call {
  /** Counts up from 1 for as long as the gateway runs. */
  id: number;
  /** ISO time at which the request's headers had arrived. */
  at: string;
  cloud: string;
  /** Name of the listener that answered. */
  listener: string;
  method: string;
  host: string;
  /** Without the query: it may carry a signature. */
  path: string;
  /** Names and values of the query, values that may be secret left out. */
  query: Record<string, string>;
  /** The operation, where one path serves them all: `Kinesis_20131202.CreateStream`, `RunInstances`. */
  action?: string;
  /** Access key, application or service account, as the request says. */
  caller?: string;
  /** Comes with tags in a header, as objects of S3 do. */
  tagging?: true;
  mutating: boolean;
  /** Undefined while it runs, and when the connection broke off before an answer. */
  status?: number;
  /** Milliseconds until the last byte of the answer. */
  ms?: number;
  /** The fault that was injected. */
  fault?: string;
}

const kept = 50_000;
const secretKey = /sig|token|credential|key|password|secret|code|assertion/i;
const readingAction = /^(Describe|Get|List|Head|Simulate|Search|Query|Scan|Batch?Get|Decrypt|Receive)/;
/** POST requests that change nothing: tokens, permission checks, key listings, queries, pulls. */
const readingPath =
  /\/oauth2\/|\/token$|:testIamPermissions$|\/testIamPermissions$|\/listKeys$|\/listkeys$|\/checkNameAvailability$|\/checkAccess$|\/devices\/query$|^\/attached-policies\/|:pull$|:acknowledge$|:modifyAckDeadline$|\/wait$|\/openid-configuration$/i;

/** Whether a call changes something, as far as can be seen without knowing each API. */
function isMutating(method: string, path: string, action: string | undefined): boolean {
  if (method === 'GET' || method === 'HEAD' || method === 'OPTIONS') return false;
  if (action) return !readingAction.test(action.split('.').at(-1) ?? action);
  return !readingPath.test(path);
}

export class Calls {
  readonly #calls: Call[] = [];
  #last = 0;

  begin(route: Route, host: string, request: IncomingMessage): Call {
    const url = new URL(request.url ?? '/', 'http://host');
    const target = request.headers['x-amz-target'];
    const method = request.method ?? 'GET';
    const action = typeof target === 'string' ? target : (url.searchParams.get('Action') ?? undefined);
    const caller = callerOf(request.headers);
    const call: Call = {
      id: ++this.#last,
      at: new Date().toISOString(),
      cloud: route.cloud,
      listener: route.name,
      method,
      host,
      path: url.pathname,
      query: Object.fromEntries(
        [...url.searchParams].map(([name, value]) => [name, secretKey.test(name) ? '…' : value]),
      ),
      ...(action ? { action } : {}),
      ...(caller ? { caller } : {}),
      ...(request.headers['x-amz-tagging'] ? { tagging: true } : {}),
      mutating: isMutating(method, url.pathname, action),
    };
    this.#calls.push(call);
    if (this.#calls.length > kept) this.#calls.splice(0, kept / 10);
    return call;
  }

  /** AWS's query protocol names its operation in the form that is sent. */
  named(call: Call, action: string): void {
    call.action = action;
    call.mutating = isMutating(call.method, call.path, action);
  }

  /** Calls after `since`, oldest first. */
  list(filter: { since?: number; mutating?: boolean; cloud?: string }): Call[] {
    return this.#calls.filter(
      (call) =>
        call.id > (filter.since ?? 0) &&
        (filter.mutating === undefined || call.mutating === filter.mutating) &&
        (filter.cloud === undefined || call.cloud === filter.cloud),
    );
  }

  clear(): void {
    this.#calls.length = 0;
  }
}
