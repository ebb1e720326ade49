/** A device whose clock has just begun, in 1970: `node in-1970.ts FILE`. TLS itself goes by the system's clock, which stays. */
const began = Date.now();
const { Date: Real } = globalThis;
globalThis.Date = new Proxy(Real, {
  get: (target, name) => (name === 'now' ? () => Real.now() - began : Reflect.get(target, name)),
  construct: (target, args) => Reflect.construct(target, args.length > 0 ? args : [Real.now() - began]),
});
const { runAgents } = await import('../../client/device-agent/run.ts');
const stop = new AbortController();
process.on('SIGTERM', () => stop.abort());
await runAgents({
  file: process.argv[2] ?? '',
  signal: stop.signal,
  onEvent: (event) => process.stdout.write(`${JSON.stringify(event)}\n`),
});
