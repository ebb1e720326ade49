/** The local Cloud Storage: the JSON API, https://cloud.google.com/storage/docs/json_api. Not served: XML API, ACLs, folders, restoring what was soft-deleted. */
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Json } from '../../model/service.ts';
import { loadDefinition } from './compute-definition.ts';
import { GoogleError } from './google-error.ts';
import { matched, selected } from './json-api.ts';
import { bucketCall } from './storage-bucket-calls.ts';
import { objectCall } from './storage-object-calls.ts';
import { conditionsOf, requireConditions } from './storage-preconditions.ts';
import { StorageState } from './storage-state.ts';
import { type Transfer, Transfers } from './storage-transfer.ts';

const uploadPath = /^(?:\/resumable)?\/upload\/storage\/v1\/b\/([^/]+)\/o$/;
const mediaPath = /^(?:\/download)?\/storage\/v1\/b\/([^/]+)\/o\/([^/]+)$/;

export class Storage {
  readonly #definition = loadDefinition('storage.v1');
  readonly #state: StorageState;
  readonly #transfers: Transfers;

  constructor(options: ConstructorParameters<typeof StorageState>[0]) {
    this.#state = new StorageState(options);
    this.#transfers = new Transfers(this.#state, this.#definition);
  }

  async handle(transfer: Transfer): Promise<void> {
    const { request, response, url, caller } = transfer;
    const method = request.method ?? '';
    const upload = method === 'GET' ? null : uploadPath.exec(url.pathname);
    if (upload) {
      const object = await this.#transfers.upload(transfer, decodeURIComponent(upload[1] ?? ''));
      if (object) reply(response, 200, selected(object, url.searchParams.get('fields')));
      return;
    }
    const media = mediaPath.exec(url.pathname);
    const wantsBytes = url.searchParams.get('alt') === 'media' || url.pathname.startsWith('/download/');
    if (media && wantsBytes && (method === 'GET' || method === 'HEAD')) {
      this.#download(transfer, decodeURIComponent(media[1] ?? ''), decodeURIComponent(media[2] ?? ''));
      return;
    }
    const body = await readJson(request);
    const signal = AbortSignal.abort();
    const { id, path, content } = matched(this.#definition, { method, url, headers: {}, body, caller, signal });
    const call = { id: id.slice('storage.'.length), path, query: url.searchParams, content, caller };
    const answer = call.id.startsWith('objects.') ? objectCall(this.#state, call) : bucketCall(this.#state, call);
    if (answer === undefined) reply(response, 304, null);
    else reply(response, answer === null ? 204 : 200, selected(answer, url.searchParams.get('fields')));
  }

  stop(): void {
    this.#state.close();
  }

  #download(transfer: Transfer, bucket: string, name: string): void {
    const query = transfer.url.searchParams;
    this.#state.access.require(transfer.caller, 'storage.objects.get', this.#state.find(bucket).policy);
    const version = this.#state.version(bucket, name, query.get('generation') ?? undefined);
    const { generationNotMatch, ...match } = conditionsOf(query);
    requireConditions(match, version);
    if (generationNotMatch === version.generation) reply(transfer.response, 304, null);
    else this.#transfers.download(transfer, bucket, version);
  }
}

export async function readJson(request: IncomingMessage): Promise<Json | undefined> {
  const chunks: Buffer[] = [];
  for await (const chunk of request as AsyncIterable<Buffer>) chunks.push(chunk);
  const text = Buffer.concat(chunks).toString('utf8');
  if (!text) return undefined;
  try {
    return JSON.parse(text) as Json;
  } catch {
    throw new GoogleError('invalid', 'Invalid JSON payload received.');
  }
}

export function reply(
  response: ServerResponse,
  status: number,
  body: Json,
  headers: Record<string, string> = {},
): void {
  const bytes = body === null ? Buffer.alloc(0) : Buffer.from(JSON.stringify(body));
  response.writeHead(status, {
    ...headers,
    ...(body === null ? {} : { 'content-type': 'application/json; charset=UTF-8' }),
    ...(status === 204 || status === 304 ? {} : { 'content-length': bytes.length }),
  });
  response.end(bytes);
}
