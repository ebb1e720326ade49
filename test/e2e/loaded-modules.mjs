/** Preloaded into a program by a test: writes the URL of each module that it loads into the file `MULTI_CLOUD_LOADED`. */
import { appendFileSync } from 'node:fs';
import { registerHooks } from 'node:module';

const file = process.env.MULTI_CLOUD_LOADED ?? '';
registerHooks({
  load(url, context, next) {
    appendFileSync(file, `${url}\n`);
    return next(url, context);
  },
});
