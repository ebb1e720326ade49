/** What a device must not forget when its power is cut: where it was well, where it is about to go, how often it has started. */
import { existsSync, readFileSync } from 'node:fs';
import { z } from 'zod';
import { DeviceEndpoint } from '../../model/device-endpoint.ts';
import { replaceFile } from './durable.ts';

/** A certificate that was made for a key of its own, PEM both. */
const Claimed = z.strictObject({ thumbprint: z.string(), certificate: z.string(), key: z.string() });
export type Claimed = z.infer<typeof Claimed>;

const AgentState = z.strictObject({
  v: z.literal(1),
  /** Starts, the present one included: part of the key of each message, so it is written before the first is sent. */
  boots: z.int().min(0),
  /** Where a message was last acknowledged. */
  good: DeviceEndpoint,
  /** Of the last redirect that was taken; only grows. */
  sequence: z.int().min(0),
  /** SHA-256 of its text: the old cloud repeats it, and that is no attack. */
  taken: z.string(),
  /** The certificate that it was well with there, by its SHA-256; left out: the one that it was built with. */
  goodAs: z.string().optional(),
  /** Where it was well before that, and as whom. */
  before: z.strictObject({ host: z.string(), as: z.string().optional() }).optional(),
  /** What it was asked for a certificate request with, and the key that it has made for that; PEM. */
  claim: z.strictObject({ taken: z.string(), sequence: z.int().min(1), key: z.string() }).optional(),
  /** Newest first. */
  claimed: z.array(Claimed).optional(),
  /** Where it is about to go, and how often it has started since: what makes it restart there must not hold it for ever. */
  trial: z
    .strictObject({
      endpoint: DeviceEndpoint,
      starts: z.int().min(0),
      /** The certificate that came along. */
      as: z.string().optional(),
    })
    .optional(),
});
export type AgentState = z.infer<typeof AgentState>;

export class StateFile {
  readonly #file: string;
  #state: AgentState;

  /** `factory` is where a device goes that has never been anywhere. */
  constructor(file: string, factory: DeviceEndpoint) {
    this.#file = file;
    this.#state = existsSync(file)
      ? AgentState.parse(JSON.parse(readFileSync(file, 'utf8')))
      : { v: 1, boots: 0, good: factory, sequence: 0, taken: '' };
  }

  get now(): AgentState {
    return this.#state;
  }

  /** Durable when it returns. */
  save(change: { [K in keyof AgentState]?: AgentState[K] | undefined }): void {
    const state = AgentState.parse({ ...this.#state, ...change });
    replaceFile(this.#file, JSON.stringify(state));
    this.#state = state;
  }
}
