#!/usr/bin/env node
/** `npm test [-- JEST ARGUMENTS]`: sets up what is missing, starts local clouds of the tests' own, runs the tests on them. */
import { runSource, setUpOrExit } from './set-up.mjs';

process.exit(await runSource(await setUpOrExit(), 'test/local/all.ts', process.argv.slice(2)));
