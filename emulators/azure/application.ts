/**
 * Applications of the tenant besides the one of the local mode. The local Entra knows those that lie in the folder `applications`
 * of its state; they hold no roles until somebody assigns them some.
 */
import { randomUUID } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';

/** Application (client) ID and its secret; `object`: of its service principal, which role assignments name. */
const Application = z.object({ client: z.guid(), secret: z.string(), object: z.guid() });
export type Application = z.infer<typeof Application>;

const folderOf = (state: string): string => join(state, 'applications');

/** Registers an application. `state`: the local cloud's state folder. */
export function registerApplication(state: string, name: string): Application {
  const application = { client: randomUUID(), secret: randomUUID(), object: randomUUID() };
  mkdirSync(folderOf(state), { recursive: true });
  writeFileSync(join(folderOf(state), `${name}.json`), JSON.stringify(application), { mode: 0o600 });
  return application;
}

export const registeredApplications = (state: string): Application[] =>
  existsSync(folderOf(state))
    ? readdirSync(folderOf(state)).map((name) =>
        Application.parse(JSON.parse(readFileSync(join(folderOf(state), name), 'utf8'))),
      )
    : [];
