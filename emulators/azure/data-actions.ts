/**
 * What applications have needed of the data plane of Event Hubs, which the gateway cannot see: AMQP goes through it as it is. One
 * file for each principal, a line for each action.
 */
import { appendFileSync, existsSync, mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { registeredApplications } from './application.ts';

const fileOf = (state: string, principal: string): string => join(state, 'data-actions', principal);

/** Notes each once. `state`: the local cloud's state folder. */
export function dataActionNotes(state: string): (principal: string, action: string) => void {
  const noted = new Set<string>();
  return (principal, action) => {
    if (noted.has(`${principal} ${action}`)) return;
    noted.add(`${principal} ${action}`);
    mkdirSync(join(state, 'data-actions'), { recursive: true });
    appendFileSync(fileOf(state, principal), `${action}\n`);
  };
}

/** `client`: of an application that was registered besides the one of the local mode. */
export function notedDataActions(state: string, client: string): string[] {
  const object = registeredApplications(state).find((one) => one.client === client)?.object;
  const file = object && fileOf(state, object);
  return file && existsSync(file) ? readFileSync(file, 'utf8').split('\n').filter(Boolean) : [];
}
