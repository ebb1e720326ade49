/** Devices of the sample agent against a service's current placement. */
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { getCACertificates } from 'node:tls';
import { Command } from 'commander';
import { z } from 'zod';
import { brokerSuffix, type DeviceEndpoint, deviceEndpoint } from '../../../model/device-endpoint.ts';
import { Duration, durationMs } from '../../../model/duration.ts';
import { DeviceId } from '../../../model/registered-device.ts';
import { Simulation, type SimulationCounts } from '../../device-agent/simulation.ts';
import { Exit, exitCodes } from '../exit.ts';
import { type GlobalOptions, inSession, localRun, preload, print, printEvent, type Session } from '../session.ts';

interface Options extends GlobalOptions {
  count: string;
  certificates: string;
  every: string;
  rate: string;
  for?: string;
  provider?: string;
  pins?: string[];
  suffixes: string[];
  authorities?: string;
  state?: string;
}

/** The part of the connection map that is of interest here. */
const Network = z.object({ ca: z.string().optional() });

/** How often it says what has become of the devices. */
const progressMs = 1000;

export const simulate = (): Command =>
  new Command('simulate')
    .description('runs devices of the sample agent, which publish, follow redirects and come back')
    .argument('<service>', 'key of the service in the estate file')
    .requiredOption('--certificates <folder>', 'of registered devices: <device>.pem and <device>.key of each')
    .option('--count <devices>', 'as many of them, in the order of their names', '10')
    .option('--provider <provider>', 'where they begin, where the service is on several clouds')
    .option('--every <duration>', 'a message of each device so often', '1s')
    .option('--rate <devices>', 'devices that connect in a second', '50')
    .option('--for <duration>', 'ends after that; else it runs until Ctrl-C')
    .option(
      '--pins <keys...>',
      'public keys (base64) whose redirects they follow: the current and the next; default: those of the local clouds, else none',
    )
    .option('--suffixes <suffixes...>', 'ends of the hosts that they may be sent to', [
      '.amazonaws.com',
      '.azure-devices.net',
      brokerSuffix,
    ])
    .option(
      '--authorities <file>',
      "PEM of the authorities built into them; default: the local clouds', or the system's",
    )
    .option('--state <folder>', 'where they keep their state; left out, they forget it when it ends')
    .addHelpText(
      'after',
      '\nOnce a second it says how many are connected where; with --json one line each, the totals last. Exit 1 where not every\ndevice was heard.\n\nExamples:\n  npx multi-cloud devices simulate iot_core --certificates ./devices --count 200 --for 1m\n  npx multi-cloud devices simulate iot_core --certificates ./devices --pins <key> <key> --json',
    )
    .action((service: string, _: unknown, command: Command) =>
      inSession(command, async (session) => {
        const options = command.optsWithGlobals<Options>();
        const endpoint = await endpointOf(session, service, options.provider);
        await run(session, endpoint, options);
      }),
    );

async function endpointOf({ estate }: Session, service: string, provider: string | undefined): Promise<DeviceEndpoint> {
  const [record, { uid } = { uid: '' }] = await Promise.all([estate.service(service), estate.estate()]);
  const current = record?.placements.filter(({ role }) => role === 'current') ?? [];
  const placement = current.find((one) => provider === undefined || one.provider === provider);
  if (placement?.type !== 'iot_core')
    throw wrong(
      provider === undefined
        ? `${service} is no iot_core service that runs. What runs: npx multi-cloud status`
        : `${service} is no iot_core service that runs on ${provider}; allowed: ${current.map((one) => one.provider).join(', ') || 'none'}`,
      'ServiceNotFound',
    );
  const endpoint = deviceEndpoint({ placement, estate: estate.name, uid, service });
  if (!endpoint) throw wrong(`${service} on ${placement.provider} has no endpoint for devices yet`, 'ServiceNotFound');
  return endpoint;
}

async function run({ estate, json, ui }: Session, endpoint: DeviceEndpoint, options: Options): Promise<void> {
  const count = positive('--count', options.count);
  const forMs = options.for === undefined ? undefined : duration('--for', options.for);
  // Of the local clouds, where the service is theirs.
  const local = ui === undefined ? undefined : localRun();
  const pins = options.pins ?? local?.redirectPins ?? ['', ''];
  const [current, next] = pins;
  if (current === undefined || next === undefined || pins.length !== 2)
    throw wrong(`--pins takes two keys, the current and the next; found ${pins.length}`);
  const everyMs = duration('--every', options.every);
  const startsPerSecond = positive('--rate', options.rate);
  const folder = mkdtempSync(join(tmpdir(), 'multi-cloud-devices-'));
  try {
    const state = options.state === undefined ? join(folder, 'state') : resolve(options.state);
    const network = local?.network;
    const authoritiesFile = options.authorities ?? authoritiesOf(network, folder);
    const certificates = resolve(options.certificates);
    const agents = devicesIn(certificates, count).map((device) => ({
      device,
      certificateFile: join(certificates, `${device}.pem`),
      keyFile: join(certificates, `${device}.key`),
      stateFile: join(state, `${device}.json`),
    }));
    const simulation = new Simulation({
      file: {
        estate: estate.name,
        agents,
        pins: [current, next],
        suffixes: options.suffixes,
        authoritiesFile,
        endpoint,
        everyMs,
        startsPerSecond,
      },
      folder,
      flags: ['--disable-warning=ExperimentalWarning', preload()],
      env: { ...process.env, ...(network && { MULTI_CLOUD_NETWORK: network }) },
    });
    const say = (final: boolean): void => {
      const counts = simulation.counts();
      if (json) printEvent({ event: final ? 'result' : 'progress', ...counts });
      else print(line(counts));
    };
    const progress = setInterval(say, progressMs, false);
    const end = forMs === undefined ? undefined : setTimeout(() => simulation.stop(), forMs);
    const interrupt = (): void => simulation.stop();
    process.once('SIGINT', interrupt).once('SIGTERM', interrupt);
    const code = await simulation.ended();
    process.off('SIGINT', interrupt).off('SIGTERM', interrupt);
    clearInterval(progress);
    clearTimeout(end);
    say(true);
    const silent = count - simulation.heard;
    if (code !== 0) throw new Exit(exitCodes.failed, 'A process with devices has failed; what it said stands above.');
    if (silent > 0) throw new Exit(exitCodes.failed, `${silent} of ${count} devices got nothing acknowledged.`);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** PEM file of what is trusted here besides: the local clouds' authority, or all that this machine trusts. */
function authoritiesOf(network: string | undefined, folder: string): string {
  const { ca } = network === undefined ? {} : Network.parse(JSON.parse(readFileSync(network, 'utf8')));
  if (ca !== undefined) return ca;
  const file = join(folder, 'authorities.pem');
  writeFileSync(file, getCACertificates('system').join('\n'));
  return file;
}

function devicesIn(folder: string, count: number): string[] {
  const names = existsSync(folder) ? readdirSync(folder) : [];
  const found = names
    .flatMap((name) => (name.endsWith('.pem') ? [name.slice(0, -'.pem'.length)] : []))
    .filter((device) => DeviceId.safeParse(device).success && names.includes(`${device}.key`))
    .sort();
  if (found.length < count)
    throw wrong(
      `--certificates: ${folder} holds ${found.length} devices (<device>.pem with <device>.key), --count asks for ${count}`,
    );
  return found.slice(0, count);
}

const line = ({ devices, connected, acknowledged, refused, moved, returned, silence }: SimulationCounts): string =>
  [
    `${Object.values(connected).reduce((sum, n) => sum + n, 0)} of ${devices} connected (${
      Object.entries(connected)
        .map(([host, n]) => `${n} on ${host}`)
        .join(', ') || 'nowhere'
    })`,
    `${acknowledged} messages acknowledged`,
    `${moved} moves, ${returned} returns`,
    `${Object.values(refused).reduce((sum, n) => sum + n, 0)} redirects refused`,
    `longest silence ${silence.p50} ms (p50), ${silence.p99} ms (p99)`,
  ].join('; ');

const wrong = (text: string, type = 'InvalidInput'): Exit => new Exit(exitCodes.wrongUsage, text, type);

function positive(option: string, text: string): number {
  const value = Number(text);
  if (Number.isInteger(value) && value > 0) return value;
  throw wrong(`${option} must be a whole number above 0, for instance 10; found ${text}`);
}

function duration(option: string, text: string): number {
  if (Duration.safeParse(text).success) return durationMs(text);
  throw wrong(`${option} must be a duration such as 30s, 5m, 1h; found ${text}`);
}
