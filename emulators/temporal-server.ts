/** The Temporal development server with the search attributes that the workflows write. */
import { existsSync, mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { searchAttributes } from '../workflows/search-attributes.ts';
import { Child } from './child.ts';
import { baseEnvironment } from './environment.ts';
import type { Ports } from './ports.ts';

/** As `temporal server start-dev --search-attribute` spells the types. */
const cliType: Record<string, string> = {
  KEYWORD: 'Keyword',
  KEYWORD_LIST: 'KeywordList',
  DOUBLE: 'Double',
  BOOL: 'Bool',
};

/** The binary that the set-up has chosen: a recent one on PATH, or the one that it installed. */
function temporalBinary(root: string): string {
  const choice = join(root, '.local/temporal-binary');
  if (existsSync(choice)) return readFileSync(choice, 'utf8').trim();
  return join(root, '.local/python/bin/temporal');
}

export function temporalServer(of: {
  root: string;
  state: string;
  ports: Ports;
  report: (text: string) => void;
  onSpawn: () => void;
}): Child {
  const { root, state, ports, report, onSpawn } = of;
  const folder = join(state, 'temporal');
  mkdirSync(folder, { recursive: true });
  const attributes = Object.values(searchAttributes).map(({ name, type }) => ({ name, type: cliType[type] ?? type }));
  const api = `http://127.0.0.1:${ports.temporalHttp}`;
  return new Child({
    name: 'temporal',
    command: temporalBinary(root),
    args: [
      ...['server', 'start-dev', '--ip', '127.0.0.1', '--log-level', 'warn', '--ui-disable-news-fetch'],
      ...['--port', `${ports.temporal}`, '--ui-port', `${ports.ui}`, '--http-port', `${ports.temporalHttp}`],
      ...['--metrics-port', `${ports.temporalMetrics}`, '--db-filename', join(folder, 'temporal.db')],
      // What is committed survives kill -9; to survive a power cut as well, each commit would wait for the disk.
      ...['--sqlite-pragma', 'journal_mode=WAL', '--sqlite-pragma', 'synchronous=NORMAL'],
      ...attributes.flatMap(({ name, type }) => ['--search-attribute', `${name}=${type}`]),
    ],
    cwd: folder,
    // It would ask Temporal's site for newer versions; nothing of the local mode leaves this machine.
    env: { ...baseEnvironment(state), TEMPORAL_VERSION_CHECK_DISABLED: '1' },
    log: join(state, 'logs', 'temporal.log'),
    // The attributes are created after the namespace; a worker that starts in between would refuse to run.
    probe: async () => {
      const answer = await fetch(`${api}/api/v1/namespaces/default/search-attributes`);
      const text = await answer.text();
      return answer.ok && attributes.every(({ name }) => text.includes(`"${name}"`));
    },
    readyMs: 30_000,
    graceMs: 5000,
    report,
    onSpawn,
  });
}
