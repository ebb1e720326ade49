/** Preloaded in each program that the local Compute Engine runs: a machine ends with its host, even when the host was killed. */
process.stdin.resume();
process.stdin.on('close', () => process.exit(0));
process.stdin.unref?.();
