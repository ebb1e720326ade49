/** What every command shares: where Temporal is, which estate, and how to print. */
import { existsSync, readFileSync } from 'node:fs';
import { userInfo } from 'node:os';
import { resolve } from 'node:path';
import type { Command } from 'commander';
import { z } from 'zod';
import { encryptedConverter, readCodecKeys } from '../../temporal/codec.ts';
import { type TemporalAccess, temporalAccess } from '../../temporal/connection.ts';
import { connect, type EstateClient } from '../index.ts';
import { cannotWrite, Exit, exitCodes, explain, unreachable } from './exit.ts';

export const root = resolve(import.meta.dirname, '../..');

/** Of Node.js: installs the connection map in a program that this one starts. */
export const preload = (): string => `--import=${resolve(root, 'workers/network.ts')}`;

export interface GlobalOptions {
  address?: string;
  namespace?: string;
  estate: string;
  json?: boolean;
}

const LocalRun = z.object({
  ready: z.boolean(),
  temporal: z.object({ address: z.string(), namespace: z.string(), ui: z.string() }),
  network: z.string(),
  settings: z.string(),
  codecKeys: z.string().optional(),
  redirectPins: z.tuple([z.string(), z.string()]).optional(),
  credentials: z.record(z.string(), z.string()),
});
export const stateFolder = (): string => resolve(root, process.env.MULTI_CLOUD_STATE ?? '.local');

/** What `multi-cloud local up` has left in the state folder, if it runs. */
export function localRun(): z.infer<typeof LocalRun> | undefined {
  const file = resolve(stateFolder(), 'run.json');
  if (!existsSync(file)) return undefined;
  const parsed = LocalRun.safeParse(JSON.parse(readFileSync(file, 'utf8')));
  return parsed.success && parsed.data.ready ? parsed.data : undefined;
}

/** Who acts, unless said otherwise. Proves nothing. */
export const defaultName = (): string => process.env.MULTI_CLOUD_BY ?? userInfo().username;

export interface Session {
  estate: EstateClient;
  address: string;
  namespace: string;
  connection: TemporalAccess['connection'];
  json: boolean;
  /** Of the local stack, where it serves this address. */
  ui: string | undefined;
}

/** Where Temporal is, how to get in, and the key file of its payload codec. */
interface Access extends Pick<Session, 'address' | 'namespace' | 'connection' | 'ui'> {
  codecKeys: string | undefined;
}

export function addressOf(options: GlobalOptions): Access {
  const local = localRun();
  const asked = options.address ?? process.env.MULTI_CLOUD_ADDRESS ?? process.env.TEMPORAL_ADDRESS;
  const namespace = options.namespace ?? process.env.MULTI_CLOUD_NAMESPACE ?? process.env.TEMPORAL_NAMESPACE;
  // The local stack speaks plain gRPC on loopback, whatever a profile of the user's says.
  if (local && (asked === undefined || asked === local.temporal.address) && !process.env.TEMPORAL_PROFILE)
    return {
      ...local.temporal,
      namespace: namespace ?? local.temporal.namespace,
      connection: {},
      codecKeys: local.codecKeys,
    };
  return {
    ...ofUser(() => temporalAccess({ address: asked, namespace })),
    ui: undefined,
    codecKeys: process.env.MULTI_CLOUD_CODEC_KEYS,
  };
}

/** What is wrong with a file or a variable of the user's is no failure of ours. */
function ofUser<T>(read: () => T): T {
  try {
    return read();
  } catch (error) {
    throw new Exit(exitCodes.wrongUsage, error instanceof Error ? error.message : String(error), 'InvalidInput');
  }
}

/** Runs a command with a connection that is closed afterwards. */
export async function inSession(command: Command, act: (session: Session) => Promise<void>): Promise<void> {
  const options = command.optsWithGlobals<GlobalOptions>();
  const { codecKeys, ...where } = addressOf(options);
  const { estate, json = false } = options;
  const dataConverter = codecKeys ? ofUser(() => encryptedConverter(readCodecKeys(codecKeys))) : undefined;
  const client = await connect({ ...where, estate, ...(dataConverter && { dataConverter }) }).catch(
    (error: unknown) => {
      const why = explain(error, where);
      throw why.type === 'PermissionDenied' ? why : unreachable(where.address);
    },
  );
  const session = { ...where, estate: client, json };
  try {
    await act(session);
  } catch (error) {
    throw await explainIn(session, error);
  } finally {
    await client.close();
  }
}

/** The same as `explain`, for what was thrown after the server had answered once: it is asked again. */
export async function explainIn({ estate, ...where }: Session, error: unknown): Promise<Exit> {
  const why = explain(error, where);
  if (why.type !== 'Unreachable') return why;
  const { connection } = estate.temporal;
  const answers = await connection
    .withDeadline(Date.now() + 3000, () => connection.workflowService.getSystemInfo({}))
    .then(
      () => true,
      () => false,
    );
  return answers ? cannotWrite(where.address) : why;
}

/** The only document on stdout of a command with `--json`. */
export const printJson = (value: unknown): void => void process.stdout.write(`${JSON.stringify(value, null, 2)}\n`);
/** One event of a followed run: a line of JSON. */
export const printEvent = (value: unknown): void => void process.stdout.write(`${JSON.stringify(value)}\n`);
export const print = (text = ''): void => void process.stdout.write(`${text}\n`);
