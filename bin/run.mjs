#!/usr/bin/env node
/** `node bin/run.mjs FILE [ARGS]`: sets up what is missing, then runs one of the project's TypeScript programs. */
import { runSource, setUpOrExit } from './set-up.mjs';

const [file, ...args] = process.argv.slice(2);
process.exit(await runSource(await setUpOrExit(), file, args));
