/**
 * `npm run drill [-- --write] [--only N,N]`: stages ten failures on local clouds, gets out of each by what `status`, `doctor`
 * and the runs themselves say, and logs it. `--write` puts the log into docs/drill.md.
 */
import { writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { failures } from './failures.ts';
import { Stage } from './stage.ts';

const { values } = parseArgs({ options: { write: { type: 'boolean', default: false }, only: { type: 'string' } } });
const chosen = failures.filter(
  (_, at) =>
    values.only === undefined ||
    values.only
      .split(',')
      .map(Number)
      .includes(at + 1),
);

const isSkipped = (end: unknown): end is { skipped: string } =>
  typeof end === 'object' && end !== null && 'skipped' in end;

const stage = new Stage();
const outcomes: string[] = [];
let failed = 0;
for (const signal of ['SIGINT', 'SIGTERM'] as const)
  process.on(signal, () => void stage.down().finally(() => process.exit(130)));
stage.has('tiles');
await stage.up();
try {
  for (const { name, story, play } of chosen) {
    const number = failures.findIndex((one) => one.name === name) + 1;
    const started = Date.now();
    stage.log.push(`## ${number}. ${name}`, '', story, '');
    process.stdout.write(`${number}. ${name}\n`);
    try {
      await stage.runs('npx multi-cloud local fault --clear');
      const end = await play(stage);
      const seconds = Math.round((Date.now() - started) / 1000);
      outcomes.push(
        `| ${number} | ${name} | ${isSkipped(end) ? `skipped: ${end.skipped}` : `solved in ${seconds} s`} |`,
      );
    } catch (error) {
      failed++;
      outcomes.push(`| ${number} | ${name} | **not solved** |`);
      process.stdout.write(`  ✘ ${error instanceof Error ? error.message : String(error)}\n`);
    }
  }
} finally {
  await stage.down();
}
process.stdout.write(`${outcomes.join('\n')}\n`);
if (values.write && failed === 0) {
  const introduction = `# A drill for the night shift

Ten failures, staged on the local clouds by \`npm run drill -- --write\`, which has also written this page. Whoever is on duty
types \`status\`, \`doctor\` and what these and the runs themselves tell them to type; lines without a \`$\` are what was printed.
What somebody else does, outside, stands between them. The script ends with an error where the tools do not say what to
do next, or where it does not help. A full disk is staged on a small file system of its own, which only root may mount;
without that right the script says that it skips it.

| | failure | outcome |
|---|---|---|
${outcomes.join('\n')}
`;
  writeFileSync(
    join(resolve(import.meta.dirname, '../..'), 'docs/drill.md'),
    `${introduction}\n${stage.log.join('\n').trimEnd()}\n`,
  );
}
process.exit(failed > 0 ? 1 : 0);
