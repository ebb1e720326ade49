/**
 * Holds the arrows of docs/architecture.md: which room of the project may import which. Prints each import that breaks
 * one, and fails.
 */
import { globSync, readFileSync } from 'node:fs';
import { dirname, join, normalize, relative } from 'node:path';

const root = join(import.meta.dirname, '..');

/** A room may import itself and these. `type:` allows types only; a path allows that file alone. */
const arrows: Record<string, readonly string[]> = {
  model: [],
  config: ['model'],
  workflows: ['model', 'type:activities'],
  // The records' workflows: their activities send them their messages.
  activities: ['model', 'workflows/cloud-estate.ts', 'workflows/cloud-service.ts', 'type:workflows'],
  temporal: [],
  workers: ['model', 'config', 'temporal', 'workflows', 'activities'],
  client: ['model', 'config', 'temporal', 'type:workflows', 'workflows/search-attributes.ts'],
  broker: ['model'],
  // What the local mode runs it starts as processes; of the others it knows shapes only.
  emulators: ['model', 'type:workers', 'workflows/search-attributes.ts'],
  bin: [],
  docs: ['client'],
  test: ['model', 'config', 'workflows', 'activities', 'temporal', 'workers', 'client', 'broker', 'emulators', 'bin'],
};
const clouds = /^activities\/providers\/(aws|azure|gcp)\//;
const imports = /(?:^|\n)(?:import|export)\s+(type\s+)?(?:[^;'"]*?from\s+)?'(\.[^']+)'|import\('(\.[^']+)'\)/g;

const broken: string[] = [];
for (const file of globSync(
  Object.keys(arrows).map((room) => `${room}/**/*.ts`),
  { cwd: root },
)) {
  const room = file.split('/')[0] ?? '';
  for (const [, type, from, dynamic] of readFileSync(join(root, file), 'utf8').matchAll(imports)) {
    const target = normalize(relative(root, join(root, dirname(file), from ?? dynamic ?? '')));
    const targetRoom = target.split('/')[0] ?? '';
    const [cloud, otherCloud] = [clouds.exec(file)?.[1], clouds.exec(target)?.[1]];
    const allowed =
      targetRoom === room
        ? cloud === undefined || otherCloud === undefined || cloud === otherCloud
        : (arrows[room] ?? []).some(
            (arrow) =>
              arrow === targetRoom || arrow === target || (type !== undefined && arrow === `type:${targetRoom}`),
          );
    if (!allowed) broken.push(`${file} must not import ${target}${type ? ' (even its types)' : ''}`);
  }
}
if (broken.length > 0) {
  process.stderr.write(`${broken.join('\n')}\n`);
  process.exit(1);
}
