/** What a device must not forget when its power is cut: where it was well, where it is about to go, how often it has started. */
import { existsSync, readFileSync } from 'node:fs';
import { z } from 'zod';
import { DeviceEndpoint } from '../../model/device-endpoint.ts';
import { replaceFile } from './durable.ts';

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
  /** Where it is about to go, and how often it has started since: what makes it restart there must not hold it for ever. */
  trial: z.strictObject({ endpoint: DeviceEndpoint, starts: z.int().min(0) }).optional(),
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
