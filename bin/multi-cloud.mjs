#!/usr/bin/env node
/** The command line. Runs in this process where this Node is new enough, else in one that the set-up has fetched. */
import * as module from 'node:module';
import { join } from 'node:path';
import { currentNode, isSetUp, root, runSource, setUpOrExit } from './set-up.mjs';

const args = process.argv.slice(2);
// What starts servers on this machine needs all of the set-up; the other commands only need packages.
const node = args[0] === 'local' || !isSetUp() ? await setUpOrExit() : currentNode();
if (node === process.execPath) {
  process.removeAllListeners('warning');
  module.enableCompileCache(join(root, '.local/compile-cache'));
  await import('../client/cli/main.ts');
} else process.exit(await runSource(node, 'client/cli/main.ts', args));
