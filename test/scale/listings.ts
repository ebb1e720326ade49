/**
 * Servers that list more objects than the local clouds could be filled with in a test, in the words of S3 and Cloud Storage. What they
 * hold follows from a number: nothing is stored.
 */
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, writeFileSync } from 'node:fs';
import type { IncomingMessage, ServerResponse } from 'node:http';
import https from 'node:https';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { authority, issueCertificate } from '../../emulators/certificates.ts';

export const bucket = 'scanned';
export const region = 'us-west-2';
const s3Host = `${bucket}.s3.${region}.amazonaws.com`;
const gcsHost = 'storage.googleapis.com';
const pageSize = 1000;
const modified = new Date('2026-11-01T12:00:00.000Z');

/** In the order of their names: the number is the place in the listing. */
export const keyOf = (n: number): string =>
  `folder ${String(Math.floor(n / 1000)).padStart(4, '0')}/object ${String(n).padStart(7, '0')}`;
const numberOf = (key: string): number => Number(/(\d{7})$/.exec(key)?.[1] ?? Number.NaN);

export type Cloud = 'aws' | 'gcp';
/** What is special about an object on one side. */
export type Special = { on: Cloud; is: 'missing' | 'longer' | 'other' };

interface Held {
  key: string;
  size: number;
  md5: Buffer;
}

export class Listings {
  readonly #objects: number;
  readonly #special: ReadonlyMap<number, Special>;
  readonly #server: https.Server;
  /** The connection map that leads here. */
  readonly network: string;
  pages: Record<Cloud, number> = { aws: 0, gcp: 0 };
  heads: Record<Cloud, number> = { aws: 0, gcp: 0 };

  private constructor(objects: number, special: ReadonlyMap<number, Special>, server: https.Server, network: string) {
    this.#objects = objects;
    this.#special = special;
    this.#server = server;
    this.network = network;
    server.on('request', (request, response) => this.#answer(request, response));
  }

  static async of(objects: number, special: ReadonlyMap<number, Special>): Promise<Listings> {
    const folder = mkdtempSync(join(tmpdir(), 'listings-'));
    const pair = await issueCertificate(await authority(folder), [s3Host, gcsHost]);
    const server = https.createServer({ cert: pair.cert, key: pair.key, keepAliveTimeout: 65_000 });
    await once(server.listen(0, '127.0.0.1'), 'listening');
    const { port: to } = server.address() as AddressInfo;
    const routes = [s3Host, gcsHost].map((host) => ({ host, port: 443, address: '127.0.0.1', to }));
    const network = join(folder, 'network.json');
    writeFileSync(network, JSON.stringify({ loopbackOnly: true, ca: join(folder, 'ca.pem'), routes }));
    return new Listings(objects, special, server, network);
  }

  close(): void {
    this.#server.closeAllConnections();
    this.#server.close();
  }

  #at(n: number, on: Cloud): Held | undefined {
    const special = this.#special.get(n);
    const own = special?.on === on ? special.is : undefined;
    if (!(n >= 0 && n < this.#objects) || own === 'missing') return undefined;
    const md5 = createHash('md5')
      .update(`${own === 'other' ? 'another ' : ''}object ${n}`)
      .digest();
    return { key: keyOf(n), size: own === 'longer' ? 2048 : 1024, md5 };
  }

  #page(start: number, on: Cloud): { held: Held[]; next: number | undefined } {
    const end = Math.min(this.#objects, start + pageSize);
    const held: Held[] = [];
    for (let n = start; n < end; n++) {
      const one = this.#at(n, on);
      if (one) held.push(one);
    }
    return { held, next: end < this.#objects ? end : undefined };
  }

  #answer(request: IncomingMessage, response: ServerResponse): void {
    const url = new URL(request.url ?? '/', 'https://any');
    request.resume();
    if (request.headers.host === gcsHost) this.#gcs(url, response);
    else if (url.searchParams.get('list-type') === '2') this.#s3Page(url, response);
    else this.#s3Head(decodeURIComponent(url.pathname.slice(1)), response);
  }

  #s3Page({ searchParams }: URL, response: ServerResponse): void {
    this.pages.aws++;
    const { held, next } = this.#page(Number(searchParams.get('continuation-token') ?? 0), 'aws');
    const contents = held.map(
      ({ key, size, md5 }) =>
        `<Contents><Key>${encodeURIComponent(key)}</Key><LastModified>${modified.toISOString()}</LastModified><ETag>&quot;${md5.toString('hex')}&quot;</ETag><Size>${size}</Size><StorageClass>STANDARD</StorageClass></Contents>`,
    );
    const more = next === undefined ? '' : `<NextContinuationToken>${next}</NextContinuationToken>`;
    response.writeHead(200, { 'content-type': 'application/xml' });
    response.end(
      `<?xml version="1.0" encoding="UTF-8"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>${bucket}</Name><EncodingType>url</EncodingType><MaxKeys>${pageSize}</MaxKeys><KeyCount>${held.length}</KeyCount><IsTruncated>${next !== undefined}</IsTruncated>${more}${contents.join('')}</ListBucketResult>`,
    );
  }

  #s3Head(key: string, response: ServerResponse): void {
    this.heads.aws++;
    const held = this.#at(numberOf(key), 'aws');
    if (!held) return void response.writeHead(404).end();
    response.writeHead(200, {
      etag: `"${held.md5.toString('hex')}"`,
      'last-modified': modified.toUTCString(),
      'content-length': held.size,
      'content-type': 'text/plain',
    });
    response.end();
  }

  #gcs({ pathname, searchParams }: URL, response: ServerResponse): void {
    const objects = `/storage/v1/b/${bucket}/o`;
    const json = (status: number, body: object): void => {
      response.writeHead(status, { 'content-type': 'application/json' });
      response.end(JSON.stringify(body));
    };
    const resource = ({ key, size, md5 }: Held) => ({
      ...{ name: key, size: String(size), generation: '1', metageneration: '1', updated: modified.toISOString() },
      ...{ md5Hash: md5.toString('base64'), contentType: 'text/plain' },
    });
    if (pathname === objects) {
      this.pages.gcp++;
      const { held, next } = this.#page(Number(searchParams.get('pageToken') ?? 0), 'gcp');
      json(200, { items: held.map(resource), ...(next !== undefined && { nextPageToken: String(next) }) });
      return;
    }
    this.heads.gcp++;
    const held = this.#at(numberOf(decodeURIComponent(pathname.slice(objects.length + 1))), 'gcp');
    json(held ? 200 : 404, held ? resource(held) : { error: { code: 404, message: 'No such object' } });
  }
}
