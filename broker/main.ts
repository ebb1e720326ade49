/** The broker as a program: bundled and packed by `pack.ts`, started by the instance's start-up script. Ends cleanly on SIGTERM. */
import { startBroker } from './broker.ts';
import { readConfiguration, readServerKeyPair } from './configuration.ts';
import { log, reason } from './log.ts';
import { bucketRegistry } from './registry.ts';
import { pubsubTelemetry } from './telemetry.ts';

async function main(): Promise<void> {
  const configuration = await readConfiguration(process.env);
  const { project, registry, topic, secret, drainMs } = configuration;
  const server = await readServerKeyPair(project, secret);
  const broker = await startBroker(
    { ...configuration, server, deviceAuthority: configuration.deviceAuthority },
    bucketRegistry(project, registry),
    pubsubTelemetry(project, topic),
  );
  log('INFO', 'serving', { mqttPort: broker.mqttPort, healthPort: broker.healthPort });

  let ending = false;
  process.on('SIGTERM', () => {
    if (ending) return;
    ending = true;
    log('INFO', 'draining');
    broker.drain();
    setTimeout(() => {
      broker.close().then(
        () => process.exit(0),
        (error) => {
          log('ERROR', 'not everything was handed over', { reason: reason(error) });
          process.exit(1);
        },
      );
    }, drainMs);
  });
}

main().catch((error) => {
  log('ERROR', 'the broker cannot start', { reason: reason(error) });
  process.exit(1);
});
