/** Devices of the sample agent in one process, as a file describes them. */
import { readFileSync } from 'node:fs';
import { setInterval, setTimeout } from 'node:timers/promises';
import { z } from 'zod';
import { DeviceEndpoint } from '../../model/device-endpoint.ts';
import { type AgentEvent, DeviceAgent, usualTimes } from './agent.ts';

const Ms = z.int().min(1);
export const AgentsFile = z.strictObject({
  agents: z.array(
    z.strictObject({
      device: z.string(),
      /** PEM files. */
      certificateFile: z.string(),
      keyFile: z.string(),
      stateFile: z.string(),
      /** Where it keeps what is not acknowledged; in memory where left out. */
      outboxFile: z.string().optional(),
    }),
  ),
  estate: z.string(),
  cohorts: z.array(z.string()).default([]),
  pins: z.tuple([z.string(), z.string()]),
  suffixes: z.array(z.string().startsWith('.')),
  /** PEM file of the authorities built in. */
  authoritiesFile: z.string(),
  /** Where a device goes that has never been anywhere. */
  endpoint: DeviceEndpoint,
  /** A message of each device so often. */
  everyMs: Ms,
  /** Devices that start in a second. */
  startsPerSecond: z.number().positive(),
  /** Messages that a device keeps. */
  outboxLimit: z.int().min(1).default(1000),
  times: z
    .strictObject({ connectMs: Ms, acknowledgeMs: Ms, trialMs: Ms, returnMs: Ms, retryMs: Ms, drainMs: Ms })
    .default(usualTimes),
});
export type AgentsFile = z.input<typeof AgentsFile>;

/** A line of the program. */
export type DeviceEvent = AgentEvent & { device: string; at: number };

const pems = (text: string): string[] => text.match(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g) ?? [];

/** Runs them until `signal` aborts; throws where one cannot be run at all. */
export async function runAgents({
  file,
  signal,
  onEvent,
}: {
  file: string;
  signal: AbortSignal;
  onEvent: (event: DeviceEvent) => void;
}): Promise<void> {
  const { agents, everyMs, startsPerSecond, authoritiesFile, outboxLimit, ...common } = AgentsFile.parse(
    JSON.parse(readFileSync(file, 'utf8')),
  );
  const authorities = pems(readFileSync(authoritiesFile, 'utf8'));

  const run = async (one: (typeof agents)[number], index: number): Promise<void> => {
    await setTimeout((index * 1000) / startsPerSecond, undefined, { signal });
    const { device, certificateFile, keyFile, stateFile, outboxFile } = one;
    const agent = new DeviceAgent({
      ...common,
      device,
      certificate: readFileSync(certificateFile, 'utf8'),
      key: readFileSync(keyFile, 'utf8'),
      authorities,
      stateFile,
      outbox: { limit: outboxLimit, file: outboxFile },
      onEvent: (event) => onEvent({ device, at: Date.now(), ...event }),
    });
    signal.addEventListener('abort', () => agent.stop());
    const running = agent.run();
    try {
      for await (const _ of setInterval(everyMs, undefined, { signal }))
        agent.send({ uptime: Math.round(process.uptime()) });
    } catch {
      await running;
    }
  };
  const ended = await Promise.allSettled(agents.map(run));
  const failed = ended.find((one) => one.status === 'rejected');
  if (failed?.status === 'rejected' && !signal.aborted) throw failed.reason;
}
