/** The clocks of local clouds are as wrong as they are told to be, in whatever language they are written. */
import { execFile } from 'node:child_process';
import { join, resolve } from 'node:path';
import { promisify } from 'node:util';

const root = resolve(import.meta.dirname, '../..');
const ahead = 1_234_000;

/** Prints all ways to ask for the time, ms since 1970. */
const programs: Record<string, [command: string, args: string[], env: Record<string, string>]> = {
  'Node.js': [
    process.execPath,
    [
      ...['--import', './emulators/clock.ts', '--disable-warning=ExperimentalWarning', '-e'],
      'console.log(Date.now(), new Date().getTime(), Date.parse(Date()), new Date(5).getTime(), new Date() instanceof Date)',
    ],
    { LOCAL_CLOUD: JSON.stringify({ clockMs: ahead }), NODE_OPTIONS: '' },
  ],
  Python: [
    join(root, '.local/python/bin/python'),
    [
      '-c',
      'import clock, time, datetime as d; u = d.timezone.utc; print(int(time.time()*1000), int(d.datetime.now(u).timestamp()*1000), int(d.datetime.utcnow().replace(tzinfo=u).timestamp()*1000), int(d.datetime.fromtimestamp(0.005, u).timestamp()*1000), str(isinstance(d.datetime.now(), d.datetime)).lower())',
    ],
    { CLOCK_MS: String(ahead), PYTHONPATH: join(root, 'emulators/aws') },
  ],
};

it.each(Object.keys(programs))('%s', async (name) => {
  const [command, args, env] = programs[name] ?? ['', [], {}];
  const { stdout } = await promisify(execFile)(command, args, { cwd: root, env: { ...process.env, ...env } });
  const [now, made, text, fixed, isDate] = stdout.trim().split(' ');
  for (const told of [now, made, text]) expect(Math.abs(Number(told) - Date.now() - ahead)).toBeLessThan(10_000);
  expect([fixed, isDate]).toEqual(['5', 'true']);
});
