/**
 * The gateway's control API, on loopback: what was called, and what is to go wrong. JSON in and out.
 *
 *     GET    /calls?since=<id>&mutating=true&cloud=aws      DELETE /calls
 *     GET    /latency     PUT /latency   {"*": 0, "aws": 100}
 *     GET    /faults      PUT /faults    [{ "match": {...}, "effect": "lose-answer", "times": 1 }]
 *                         POST /faults   one more        DELETE /faults?id=<id>
 *     PUT    /quotas      {"cloud": "aws", "name": "L-F678F1CE", "region": "us-west-2", "limit": 1}; null: as it was
 *     GET    /quotas?cloud=aws   those that were set
 *     GET    /callers?id=<caller>   the rights that its calls have needed
 *     PUT    /callers?id=<access key of AWS>   [<IAM policy>]: what it may do from now on      DELETE /callers?id=<access key>
 */
import http from 'node:http';
import { join } from 'node:path';
import { json } from 'node:stream/consumers';
import { z } from 'zod';
import { notedDataActions } from '../azure/data-actions.ts';
import { cloudNames } from '../clouds.ts';
import { limitsIn, QuotaChange, setLimit } from '../quota-limits.ts';
import { type Callers, Policy } from './callers.ts';
import type { Calls } from './calls.ts';
import { Fault, type Faults, Latency } from './faults.ts';

interface Controlled {
  calls: Calls;
  faults: Faults;
  callers: Callers;
  /** Folder for the state of each local cloud, by its name. */
  state: string;
}

const Cloud = z.enum(cloudNames);

export function createControl({ calls, faults, callers, state }: Controlled): http.Server {
  const answer = async (request: http.IncomingMessage): Promise<unknown> => {
    const url = new URL(request.url ?? '/', 'http://control');
    const query = url.searchParams;
    switch (`${request.method} ${url.pathname}`) {
      case 'GET /calls':
        return calls.list({
          since: Number(query.get('since') ?? 0),
          ...(query.has('mutating') ? { mutating: query.get('mutating') === 'true' } : {}),
          ...(query.has('cloud') ? { cloud: query.get('cloud') ?? '' } : {}),
        });
      case 'DELETE /calls':
        calls.clear();
        return {};
      case 'GET /latency':
        return faults.latency;
      case 'PUT /latency':
        faults.latency = Latency.parse(await json(request));
        return faults.latency;
      case 'GET /faults':
        return faults.list();
      case 'PUT /faults':
        faults.set(z.array(Fault).parse(await json(request)));
        return faults.list();
      case 'POST /faults':
        return faults.arm(Fault.parse(await json(request)));
      case 'DELETE /faults':
        return faults.disarm(Number(query.get('id')));
      case 'PUT /quotas': {
        const change = QuotaChange.parse(await json(request));
        return setLimit(join(state, Cloud.parse(change.cloud)), change);
      }
      case 'GET /quotas':
        return limitsIn(join(state, Cloud.parse(query.get('cloud'))));
      case 'GET /callers': {
        const id = query.get('id') ?? '';
        return [...new Set([...callers.used(id), ...notedDataActions(join(state, 'azure'), id)])].sort();
      }
      case 'PUT /callers':
        callers.hold(query.get('id') ?? '', z.array(Policy).parse(await json(request)));
        return {};
      case 'DELETE /callers':
        callers.hold(query.get('id') ?? '', undefined);
        return {};
      default:
        return undefined;
    }
  };
  return http.createServer((request, response) => {
    answer(request).then(
      (body) => {
        response.writeHead(body === undefined ? 404 : 200, { 'content-type': 'application/json' });
        response.end(`${JSON.stringify(body ?? { error: 'no such path' })}\n`);
      },
      (error: Error) => {
        response.writeHead(400, { 'content-type': 'application/json' });
        response.end(
          `${JSON.stringify({ error: error instanceof z.ZodError ? z.prettifyError(error) : error.message })}\n`,
        );
      },
    );
  });
}
