/** `multi-cloud codec-server`: decodes for Temporal's UI what the workers encrypt. */
import { readFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { AesGcmCodec, readCodecKeys } from './codec.ts';
import { createCodecServer } from './codec-server.ts';

const { values } = parseArgs({
  options: {
    keys: { type: 'string' },
    'token-file': { type: 'string' },
    origin: { type: 'string', multiple: true },
    host: { type: 'string', default: '127.0.0.1' },
    port: { type: 'string', default: '8234' },
    help: { type: 'boolean' },
  },
});
if (values.help || !values.keys || !values['token-file'] || !values.origin) {
  (values.help ? process.stdout : process.stderr).write(
    'codec-server --keys FILE --token-file FILE --origin URL [--origin URL ...] [--host 127.0.0.1] [--port 8234]\n\n' +
      "Decodes payloads for Temporal's UI and CLI. In the UI: the spectacles at the top, this server's address.\n\n" +
      '  --keys        the key file that the workers have (docs/operate.md)\n' +
      '  --token-file  file with the bearer token that the UI must send\n' +
      "  --origin      the UI's address, as a browser sends it: http://127.0.0.1:8233\n",
  );
  process.exit(values.help ? 0 : 2);
}
const token = readFileSync(values['token-file'], 'utf8').trim();
if (token.length < 16) {
  process.stderr.write(`${values['token-file']}: found ${token.length} characters; a token has 16 at least\n`);
  process.exit(2);
}
const codec = new AesGcmCodec(readCodecKeys(values.keys));
const server = createCodecServer({ codec, token, origins: values.origin });
server.listen(Number(values.port), values.host, () =>
  process.stdout.write(`ready http://${values.host}:${values.port}\n`),
);
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => server.close());
