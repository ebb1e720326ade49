/** `multi-cloud codec-server`: decodes for Temporal's UI what the workers encrypt. */
import { readFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { AesGcmCodec, readCodecKeys } from './codec.ts';
import { createCodecServer } from './codec-server.ts';

const help = `codec-server --keys FILE --token-file FILE --origin URL [--origin URL ...]

Decodes payloads for Temporal's UI and CLI. In a browser: open this server's address and show the token; then enter the
address in the UI (the spectacles at the top) and switch on "Include cross-origin credentials". On the command line:
temporal workflow show --codec-endpoint ADDRESS --codec-auth "Bearer TOKEN" ...

  --keys        the key file that the workers have (docs/operate.md)
  --token-file  file with the token, 16 characters or more: openssl rand -hex 32
  --origin      the UI's address, as a browser sends it: http://127.0.0.1:8233
  --host        address to listen on (127.0.0.1)
  --port        port to listen on (8234)
  --tls-cert, --tls-key
                PEM files; without them plain HTTP, which only a loopback address may speak

Example:
  npx multi-cloud codec-server --keys codec-keys.json --token-file token --origin http://127.0.0.1:8233
`;

function refuse(why: string): never {
  process.stderr.write(`codec-server: ${why}. Run it with --help to see what it takes.\n`);
  process.exit(2);
}

/** What `act` gives; what it throws is the caller's mistake and said in one line. */
function accept<T>(act: () => T): T {
  try {
    return act();
  } catch (error) {
    return refuse(error instanceof Error ? error.message : String(error));
  }
}

const { values } = accept(() =>
  parseArgs({
    options: {
      keys: { type: 'string' },
      'token-file': { type: 'string' },
      origin: { type: 'string', multiple: true },
      host: { type: 'string', default: '127.0.0.1' },
      port: { type: 'string', default: '8234' },
      'tls-cert': { type: 'string' },
      'tls-key': { type: 'string' },
      help: { type: 'boolean' },
    },
  }),
);
if (values.help) {
  process.stdout.write(help);
  process.exit(0);
}
const { keys, origin: origins, host, 'token-file': tokenFile, 'tls-cert': cert, 'tls-key': key } = values;
if (!keys || !tokenFile || !origins) refuse('--keys, --token-file and --origin are needed');

const port = Number(values.port);
if (!Number.isInteger(port) || port < 0 || port > 65_535) refuse(`--port ${values.port}: a number up to 65535`);
for (const one of origins) {
  const origin = URL.canParse(one) ? new URL(one).origin : 'http://127.0.0.1:8233';
  if (origin !== one) refuse(`--origin ${one}: a scheme, a host and a port alone, as in ${origin}`);
}
const token = accept(() => readFileSync(tokenFile, 'utf8').trim());
if (token.length < 16) refuse(`--token-file ${tokenFile}: found ${token.length} characters; a token has 16 at least`);
if (!cert !== !key) refuse('--tls-cert and --tls-key are needed together');
const tls = cert && key ? accept(() => ({ cert: readFileSync(cert), key: readFileSync(key) })) : undefined;
if (!tls && !/^(127\.|localhost$|::1$)/.test(host))
  refuse(`--host ${host}: tokens and secrets would pass the network in plain text; give --tls-cert and --tls-key`);

const codec = accept(() => new AesGcmCodec(readCodecKeys(keys)));
const server = accept(() => createCodecServer({ codec, token, origins, tls }));
server.on('error', (error) => {
  process.stderr.write(`codec-server: ${error.message}\n`);
  process.exit(1);
});
server.listen(port, host, () => {
  const address = server.address();
  const listening = typeof address === 'object' && address ? address.port : port;
  process.stdout.write(`ready http${tls ? 's' : ''}://${host}:${listening}\n`);
});
for (const signal of ['SIGINT', 'SIGTERM'] as const)
  process.on(signal, () => {
    server.close();
    server.closeAllConnections();
  });
