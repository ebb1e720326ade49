/**
 * Azurite's blob service with accounts that come while it runs: each line on stdin is `name:base64 key`. Azurite reads its
 * accounts from the environment again and again, once a minute unless it is told otherwise.
 */
import '../../clock.ts';

import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { parseArgs } from 'node:util';
import { type LokiModule, noteChanges, recover } from './azurite-journal.ts';
import { keepVersions, type StorePrototype } from './azurite-versions.ts';

const require = createRequire(import.meta.url);
const source = join(dirname(require.resolve('azurite/package.json')), 'dist/src');
const constants: { DEFAULT_ACCOUNTS_REFRESH_INTERVAL: number } = require(join(source, 'common/utils/constants.js'));
constants.DEFAULT_ACCOUNTS_REFRESH_INTERVAL = 100;
const { values } = parseArgs({ options: { location: { type: 'string', short: 'l' } }, strict: false });
recover(String(values.location));
const azurite = createRequire(join(source, 'blob/main.js'));
const loki: LokiModule = azurite('lokijs');
noteChanges(loki);
const store: { default: { prototype: StorePrototype } } = azurite('./persistence/LokiBlobMetadataStore.js');
keepVersions(store.default.prototype);

/**
 * Names that XML cannot hold are listed percent-encoded, as Blob Storage does; Azurite answers 500 to the whole list.
 * https://learn.microsoft.com/rest/api/storageservices/list-blobs#response-body
 */
interface ListAnswer {
  Blobs?: { Blob?: { Name: unknown }[] };
}
const xml: { stringifyXML(body: ListAnswer, options: object): string } = azurite('./generated/utils/xml.js');
const { stringifyXML } = xml;
// biome-ignore lint/suspicious/noControlCharactersInRegex: those that XML 1.0 forbids
const unprintable = /[\u0000-\u0008\u000b\u000c\u000e-\u001f\ufffe\uffff]/;
xml.stringifyXML = (body, options) => {
  for (const blob of body.Blobs?.Blob ?? [])
    if (typeof blob.Name === 'string' && unprintable.test(blob.Name))
      blob.Name = { $: { Encoded: 'true' }, _: encodeURIComponent(blob.Name) };
  return stringifyXML(body, options);
};
azurite('./main.js');

const lines = createInterface({ input: process.stdin });
lines.on('line', (account) => {
  process.env.AZURITE_ACCOUNTS = `${process.env.AZURITE_ACCOUNTS};${account}`;
});
let ending = false;
process.once('SIGTERM', () => {
  ending = true;
});
// Its parent is gone and nobody else would end it. A second signal would cut off the end that the first has begun.
lines.on('close', () => {
  if (!ending) process.kill(process.pid, 'SIGTERM');
});
