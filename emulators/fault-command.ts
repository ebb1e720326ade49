/** `multi-cloud local fault`, `local quota` and `local calls`: makes the local clouds misbehave, and shows what was asked of them. */
import { parseArgs } from 'node:util';
import { durationMs } from '../model/duration.ts';
import type { Cause } from './gateway/answers.ts';
import type { Call } from './gateway/calls.ts';
import type { Fault } from './gateway/faults.ts';
import type { RunFile } from './run-file.ts';

type Kind = Pick<Fault, 'effect'> & { cause?: Cause; what: string };
const refuse = (cause: Cause, what: string): Kind => ({ effect: 'refuse', cause, what });
export const faultKinds: Record<string, Kind> = {
  throttle: refuse('throttled', "refuses with the cloud's own throttling answer and its delay"),
  unavailable: refuse('unavailable', 'answers 503'),
  deny: refuse('denied', 'refuses for lack of a right'),
  quota: refuse('quota', 'refuses because a quota is used up'),
  expire: refuse('expired', 'refuses the credentials as expired'),
  revoke: refuse('revoked', 'refuses the credentials as taken away: a key deleted, an account disabled'),
  skew: refuse('skewed', "refuses because of the caller's clock"),
  'name-held': refuse(
    'held',
    'refuses a name as that of something deleted a short while ago (with --operation or --path)',
  ),
  'unavailable-after': { effect: 'refuse-after', cause: 'unavailable', what: 'does it, then answers 503' },
  'lose-request': { effect: 'lose-request', what: 'breaks the connection before the cloud sees the call' },
  'lose-answer': { effect: 'lose-answer', what: 'does it, then breaks the connection' },
  late: { effect: 'late', what: 'breaks the connection, and does it later (--delay)' },
  cut: { effect: 'cut', what: 'sends half of the answer, then breaks the connection' },
  reset: { effect: 'reset', what: 'resets the TLS connection before the cloud sees the call' },
  'black-hole': { effect: 'black-hole', what: 'never answers, and the cloud never sees the call' },
  slow: { effect: 'slow', what: 'lets the answer trickle (--delay in all)' },
  delay: { effect: 'delay', what: 'does it later (--delay)' },
  outage: { effect: 'outage', what: 'takes the whole cloud away, every connection of every protocol' },
};

export const faultUsage = `multi-cloud local fault KIND --cloud aws|azure|gcp [OPTIONS]
multi-cloud local fault --list | --clear
multi-cloud local quota NAME --cloud aws|azure|gcp [--region REGION] --limit N | --default
multi-cloud local calls [--cloud NAME] [--mutating] [--last N]

Kinds:
${Object.entries(faultKinds)
  .map(([name, { what }]) => `  ${name.padEnd(18)} ${what}`)
  .join('\n')}

Options:
  --operation NAME   only calls of this operation (AWS: CreateVpc), or /regular expression/
  --path PATH        only calls to this path, or /regular expression/
  --method METHOD    only GET, PUT, POST, …
  --caller ID        only calls of this access key, application or service account
  --mutating         only calls that change something
  --skip N           lets the first N such calls through
  --count N          hits N calls, then heals
  --for TIME         heals after this: 30s, 5m
  --delay TIME       for delay, late, slow (default 5s)
  --json             prints what is armed as JSON

Examples:
  npx multi-cloud local fault deny --cloud aws --operation CreateVpc     # deploy is blocked, and names the right
  npx multi-cloud local fault outage --cloud azure --for 60s
  npx multi-cloud local quota L-F678F1CE --cloud aws --limit 1           # one VPC in each region; plan says so, deploy waits
  npx multi-cloud local fault --clear                                    # everything is well again
`;

const options = {
  cloud: { type: 'string' },
  operation: { type: 'string' },
  path: { type: 'string' },
  method: { type: 'string' },
  caller: { type: 'string' },
  mutating: { type: 'boolean' },
  skip: { type: 'string', default: '0' },
  count: { type: 'string' },
  for: { type: 'string' },
  delay: { type: 'string', default: '5s' },
  last: { type: 'string', default: '50' },
  list: { type: 'boolean' },
  clear: { type: 'boolean' },
  region: { type: 'string' },
  limit: { type: 'string' },
  default: { type: 'boolean' },
  json: { type: 'boolean' },
  help: { type: 'boolean' },
} as const;

const print = (text: string): void => void process.stdout.write(`${text}\n`);
const known = (value: string | undefined, allowed: readonly string[], field: string): string => {
  if (value !== undefined && allowed.includes(value)) return value;
  throw new Error(`${field}: found ${value ?? 'nothing'}; allowed: ${allowed.join(', ')}`);
};

async function ask<T>(run: RunFile, path: string, method = 'GET', body?: unknown): Promise<T> {
  const answer = await fetch(`${run.control}${path}`, {
    method,
    ...(body !== undefined && { body: JSON.stringify(body) }),
  });
  const text = await answer.text();
  if (!answer.ok) throw new Error(text);
  return JSON.parse(text) as T;
}

interface Armed {
  id: number;
  fault: Fault;
  hits: number;
}
const described = ({ id, fault: { name, match, times, until }, hits }: Armed): string =>
  [`${id}: ${name}`, JSON.stringify(match), times && `${times} times`, until && `until ${until}`, `hit ${hits}`]
    .filter(Boolean)
    .join('  ');

export async function faultCommand(run: RunFile, args: string[]): Promise<void> {
  const { values, positionals } = parseArgs({ args, allowPositionals: true, options });
  if (values.help) return print(faultUsage);
  if (values.clear) await ask(run, '/faults', 'PUT', []);
  else if (!values.list) {
    const [kind] = positionals;
    const { effect, cause } = faultKinds[known(kind, Object.keys(faultKinds), 'fault')] ?? { effect: 'delay' };
    const cloud = known(values.cloud, ['aws', 'azure', 'gcp'], '--cloud');
    const { operation, path, method, caller, mutating } = values;
    await ask(run, '/faults', 'POST', {
      name: kind,
      effect,
      ...(cause && { cause }),
      match: {
        cloud,
        ...(operation !== undefined && { action: operation }),
        ...(path !== undefined && { path }),
        ...(method !== undefined && { method: method.toUpperCase() }),
        ...(caller !== undefined && { caller }),
        ...(mutating && { mutating }),
      },
      skip: Number(values.skip),
      ...(values.count !== undefined && { times: Number(values.count) }),
      ...(values.for !== undefined && { until: new Date(Date.now() + durationMs(values.for)).toISOString() }),
      delayMs: durationMs(values.delay),
    });
  }
  const armed = await ask<Armed[]>(run, '/faults');
  if (values.json) print(JSON.stringify(armed, null, 2));
  else print(armed.length === 0 ? 'All is well: no fault is armed.' : armed.map(described).join('\n'));
}

/** Sets what a quota of a local cloud allows, and shows all that were set. */
export async function quotaCommand(run: RunFile, args: string[]): Promise<void> {
  const { values, positionals } = parseArgs({ args, allowPositionals: true, options });
  if (values.help) return print(faultUsage);
  const cloud = known(values.cloud, ['aws', 'azure', 'gcp'], '--cloud');
  const [name] = positionals;
  if (name !== undefined) {
    const limit = values.default ? null : Number(values.limit ?? Number.NaN);
    if (Number.isNaN(limit)) throw new Error(`--limit: found ${values.limit ?? 'nothing'}; allowed: a number`);
    const { region } = values;
    await ask(run, '/quotas', 'PUT', { cloud, name, limit, ...(region !== undefined && { region }) });
  }
  const limits = await ask<Record<string, number>>(run, `/quotas?cloud=${cloud}`);
  if (values.json) return print(JSON.stringify(limits, null, 2));
  const lines = Object.entries(limits).map(([quota, limit]) => `${quota}  ${limit}`);
  print(lines.length === 0 ? 'No quota was set.' : lines.join('\n'));
}

export async function callsCommand(run: RunFile, args: string[]): Promise<void> {
  const { values } = parseArgs({ args, options });
  if (values.help) return print(faultUsage);
  const query = new URLSearchParams({
    ...(values.cloud !== undefined && { cloud: known(values.cloud, ['aws', 'azure', 'gcp'], '--cloud') }),
    ...(values.mutating && { mutating: 'true' }),
  });
  const calls = (await ask<Call[]>(run, `/calls?${query}`)).slice(-Number(values.last));
  if (values.json) return print(JSON.stringify(calls, null, 2));
  for (const { at, method, host, path, action, status, fault } of calls)
    print(
      [at.slice(11, 23), status ?? '…', method, `${host}${path}`, action, fault && `fault: ${fault}`]
        .filter(Boolean)
        .join('  '),
    );
}
