/**
 * Azurite's blob service with accounts that come while it runs: each line on stdin is `name:base64 key`. Azurite reads its
 * accounts from the environment again and again, once a minute unless it is told otherwise.
 */
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';

const require = createRequire(import.meta.url);
const source = join(dirname(require.resolve('azurite/package.json')), 'dist/src');
const constants: { DEFAULT_ACCOUNTS_REFRESH_INTERVAL: number } = require(join(source, 'common/utils/constants.js'));
constants.DEFAULT_ACCOUNTS_REFRESH_INTERVAL = 100;
require(join(source, 'blob/main.js'));

const lines = createInterface({ input: process.stdin });
lines.on('line', (account) => {
  process.env.AZURITE_ACCOUNTS = `${process.env.AZURITE_ACCOUNTS};${account}`;
});
// Its parent is gone: nobody would end it.
lines.on('close', () => process.kill(process.pid, 'SIGTERM'));
