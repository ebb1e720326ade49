/**
 * The sample agent as a program: `node client/device-agent/main.ts FILE` runs the devices that the file names (`AgentsFile`). Each
 * event of each is a line of JSON on stdout. SIGTERM takes in what is under way and ends it.
 */
import { runAgents } from './run.ts';

const stop = new AbortController();
for (const signal of ['SIGTERM', 'SIGINT'] as const) process.on(signal, () => stop.abort());

const [file] = process.argv.slice(2);
if (file === undefined) {
  process.stderr.write('usage: node client/device-agent/main.ts FILE\n');
  process.exitCode = 2;
} else
  await runAgents({
    file,
    signal: stop.signal,
    onEvent: (event) => process.stdout.write(`${JSON.stringify(event)}\n`),
  });
