/**
 * Weights in HAProxy, by its runtime API (https://docs.haproxy.org/2.6/management.html#9.3) over TCP. The user's own file makes
 * the backend, named after the service and the estate's UID, with one server a placement, named after its provider: an API
 * that knows no tags, and forgets at a restart what it was told, owns nothing else.
 */
import { connect } from 'node:net';
import { text } from 'node:stream/consumers';
import { z } from 'zod';
import { CloudError, type CloudErrorFields } from '../../model/errors.ts';
import { backendName, type FrontCounters, inOrder, type WeightedRecord } from '../../model/traffic.ts';
import type { WeightsDriver } from '../providers/driver.ts';

/** `show stat … json`: a list of fields for each server. */
const Stats = z.array(
  z.array(
    z.object({ field: z.object({ name: z.string() }), value: z.object({ value: z.union([z.string(), z.number()]) }) }),
  ),
);
/** https://docs.haproxy.org/2.6/management.html#9.1 */
const Server = z.object({
  pxname: z.string(),
  svname: z.string(),
  /** The weight that was set; `weight` is what of it is in effect. */
  uweight: z.int(),
  addr: z.string(),
  status: z.string(),
  mode: z.enum(['http', 'tcp']),
  stot: z.int(),
  req_tot: z.int().default(0),
  hrsp_5xx: z.int().default(0),
  econ: z.int(),
  eresp: z.int(),
});
type Server = z.infer<typeof Server>;

const needsLevel = 'its `stats socket` needs `level admin`';

export class Haproxy implements WeightsDriver {
  readonly #address: string;
  readonly #deadlineMs: number;

  /** `address`: `host:port` of the runtime API; `deadlineMs`: longest that an answer may take. */
  constructor({ address, deadlineMs }: { address: string; deadlineMs: number }) {
    this.#address = address;
    this.#deadlineMs = deadlineMs;
  }

  async find(
    { service, uid }: { service: string; uid: string },
    signal: AbortSignal,
  ): Promise<{ record: WeightedRecord; whole: boolean; version: string }> {
    const targets = (await this.#servers({ service, uid }, signal)).map(({ svname, addr, uweight }) => ({
      provider: svname,
      host: addr,
      weight: uweight,
    }));
    return { record: { uid, service, ttlSeconds: 0, targets: inOrder(targets) }, whole: true, version: '' };
  }

  async replace(
    { service, uid, after }: { service: string; uid: string; after: WeightedRecord | undefined },
    signal: AbortSignal,
  ): Promise<void> {
    const backend = backendName({ service, uid });
    if (!after)
      throw this.#error('NotSupported', 'remove the backend', backend, "remove it from the load balancer's own file");
    const there = await this.#servers({ service, uid }, signal);
    const missing = after.targets.filter(({ provider }) => !there.some(({ svname }) => svname === provider));
    if (missing.length > 0 || after.targets.length < there.length)
      throw this.#error('NotFound', 'set server', backend, howToMake(backend, after));
    // In one line, so that nobody is sent elsewhere between the first and the last of them for longer than that takes.
    const commands = after.targets.flatMap(({ provider, host, weight }) => {
      const server = `set server ${backend}/${provider}`;
      const [address, port] = host.split(':');
      const moved = there.some(({ svname, addr }) => svname === provider && addr !== host);
      return [...(moved ? [`${server} addr ${address} port ${port}`] : []), `${server} weight ${weight}`];
    });
    const said = await this.#ask(commands.join('; '), signal);
    const { record } = await this.find({ service, uid }, signal);
    const wrong = after.targets.find(
      ({ provider, host, weight }) =>
        !record.targets.some((one) => one.provider === provider && one.host === host && one.weight === weight),
    );
    if (!wrong) return;
    if (/Permission denied/i.test(said)) throw this.#error('PermissionDenied', 'set server', backend, needsLevel);
    throw this.#error(
      'InvalidInput',
      'set server',
      `${backend}/${wrong.provider}`,
      `it says: ${said.trim().slice(0, 200)}`,
    );
  }

  /** What each server has been asked and has failed since HAProxy was started. */
  async counters(of: { service: string; uid: string }, signal: AbortSignal): Promise<FrontCounters[]> {
    return (await this.#servers(of, signal)).map((one) => ({
      provider: one.svname,
      requests: one.mode === 'http' ? one.req_tot : one.stot,
      errors: one.hrsp_5xx + one.econ + one.eresp,
      ...(/^(UP|no check)/.test(one.status) ? {} : { down: one.status }),
    }));
  }

  async #servers(of: { service: string; uid: string }, signal: AbortSignal): Promise<Server[]> {
    const backend = backendName(of);
    const answer = await this.#ask('show stat -1 6 -1 json', signal);
    const all = this.#parse(Stats, parsedJson(answer), answer).map((fields) =>
      Object.fromEntries(fields.map(({ field, value }) => [field.name, value.value])),
    );
    const proxies = new Set(all.map(({ pxname }) => String(pxname)));
    if (!proxies.has(backend)) {
      const stranger = [...proxies].find((name) => new RegExp(`^${of.service}-[0-9a-f]{8}$`).test(name));
      if (stranger)
        throw this.#error(
          'NotOurs',
          'show stat',
          stranger,
          `it is the backend of another estate, ours is ${backend}; nothing was changed`,
        );
      throw this.#error('NotFound', 'show stat', backend, howToMake(backend));
    }
    const servers = all.filter(({ pxname, type }) => pxname === backend && type === 2);
    if (servers.some(({ addr }) => addr === undefined))
      throw this.#error('PermissionDenied', 'show stat', backend, needsLevel);
    return this.#parse(z.array(Server), servers, answer);
  }

  /** Each connection takes one line of commands, and is closed after the answer. */
  async #ask(command: string, signal: AbortSignal): Promise<string> {
    const [host = '', port] = this.#address.split(':');
    const socket = connect({
      host,
      port: Number(port),
      signal: AbortSignal.any([signal, AbortSignal.timeout(this.#deadlineMs)]),
    });
    try {
      socket.end(`${command}\n`);
      return await text(socket);
    } catch (error) {
      const { code = 'no answer' } = error as NodeJS.ErrnoException;
      throw this.#error('Unavailable', command.slice(0, 60), this.#address, `its runtime API does not answer: ${code}`);
    } finally {
      socket.destroy();
    }
  }

  #parse<T>(schema: z.ZodType<T>, value: unknown, answer: string): T {
    const parsed = schema.safeParse(value);
    if (parsed.success) return parsed.data;
    const [issue] = parsed.error.issues;
    throw this.#error(
      'NotSupported',
      'show stat',
      this.#address,
      `HAProxy 2.6 or later is needed; it says: ${answer.trim().slice(0, 100)} (${issue?.path.join('.')}: ${issue?.message})`,
    );
  }

  #error(kind: CloudErrorFields['kind'], operation: string, resource: string, explanation: string): CloudError {
    return new CloudError({ kind, provider: 'haproxy', operation, resource }, explanation);
  }
}

function parsedJson(answer: string): unknown {
  try {
    return JSON.parse(answer);
  } catch {
    return undefined;
  }
}

const howToMake = (backend: string, record?: WeightedRecord): string => {
  const servers = record?.targets.map(
    ({ provider, host, weight }) => `server ${provider} ${host} check weight ${weight}`,
  ) ?? ['server <provider> <address:port> check weight 0'];
  return `the load balancer's file needs \`backend ${backend}\` with exactly these servers, and a restart: ${servers.join('; ')}`;
};
