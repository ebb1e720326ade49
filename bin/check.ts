/** `npm run check`: types, format and lint, the arrows between rooms, the dependencies, dead code. All of them, then a line for each. */
import { spawn } from 'node:child_process';
import { join } from 'node:path';

const root = join(import.meta.dirname, '..');
const bin = (name: string): string => join(root, 'node_modules/.bin', name);

const checks: Record<string, [command: string, ...args: string[]]> = {
  'type check': [bin('tsc'), '-p', '.'],
  'format and lint': [bin('biome'), 'ci', '--error-on-warnings', '--colors=off'],
  'import arrows': [process.execPath, '--disable-warning=ExperimentalWarning', 'bin/arrows.ts'],
  'supply chain': [process.execPath, '--disable-warning=ExperimentalWarning', 'bin/supply-chain.ts'],
  'dead code': [bin('knip'), '--no-progress'],
};

function run([command, ...args]: [string, ...string[]]): Promise<{ code: number; said: string }> {
  return new Promise((resolve) => {
    const child = spawn(command, args, { cwd: root, stdio: ['ignore', 'pipe', 'pipe'] });
    let said = '';
    const hear = (chunk: Buffer): void => {
      said += chunk.toString();
    };
    child.stdout.on('data', hear);
    child.stderr.on('data', hear);
    child.on('error', (error) => resolve({ code: 1, said: error.message }));
    child.on('close', (code) => resolve({ code: code ?? 1, said }));
  });
}

let failed = 0;
await Promise.all(
  Object.entries(checks).map(async ([name, command]) => {
    const started = performance.now();
    const { code, said } = await run(command);
    const seconds = ((performance.now() - started) / 1000).toFixed(1);
    if (code !== 0) {
      failed++;
      process.stdout.write(`${said.trimEnd()}\n`);
    }
    process.stdout.write(`${code === 0 ? 'ok    ' : 'FAILED'} ${name} (${seconds} s)\n`);
  }),
);
process.exit(failed > 0 ? 1 : 0);
