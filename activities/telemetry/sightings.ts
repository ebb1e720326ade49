/** Whom a pump has seen, kept in one file for each direction: about a hundred bytes a device, less in gzip. */
import { claimsFile, NotedClaim } from '../../model/device-claim.ts';
import { deviceEvent, mostTroubles, troublesOf } from '../../model/device-events.ts';
import {
  mostSightings,
  type RefusedRedirect,
  Sighting,
  type Sightings,
  SightingsHead,
  sightingsFile,
} from '../../model/telemetry-pump.ts';
import type { Passing } from '../providers/telemetry.ts';
import { type Files, fromLines, packLines, toLines, unpackLines } from '../transfer/files.ts';

/** Those of each direction that has a file, by the provider whose devices they are. */
export async function readSightings(files: Files): Promise<Map<string, Sightings>> {
  const names = (await files.list('')).filter((name) => name.endsWith(sightingsFile('')));
  const all = await Promise.all(names.map((name) => sightingsIn(files, name)));
  return new Map(all.flatMap((found): [string, Sightings][] => (found ? [[found.head.provider, found]] : [])));
}

async function sightingsIn(files: Files, name: string): Promise<Sightings | undefined> {
  const bytes = await files.read(name);
  if (!bytes) return undefined;
  const [head, ...lines] = unpackLines(bytes);
  const devices: Sightings['devices'] = new Map();
  for (const line of lines) {
    const { device, ...seen } = Sighting.parse(line);
    devices.set(device, seen);
  }
  return { head: SightingsHead.parse(head), devices };
}

/** Certificate requests that devices of this provider have sent: the last one of each. */
export async function readClaims(files: Files, provider: string): Promise<Map<string, NotedClaim>> {
  const bytes = await files.read(claimsFile(provider));
  const noted = bytes ? fromLines(bytes).map((line) => NotedClaim.parse(line)) : [];
  return new Map(noted.map((claim) => [claim.device, claim]));
}

/** Refused redirects that one pump names. */
const mostRefused = 20;

interface Noted {
  at: number;
  messages: number;
  troubles: number[];
}

/** Where nothing came the file is written as well, so that one can tell silence from a pump that stands still. */
const silentMs = 30_000;

export class Seen {
  readonly #provider: string;
  readonly #devices: Map<string, Noted>;
  #refused: RefusedRedirect[];
  readonly #since: string;
  #messages: number;
  #newest: number;
  readonly #claims: Map<string, NotedClaim>;
  #claimed = false;
  #changed = false;
  #savedAt = 0;

  private constructor(provider: string, before: Sightings | undefined, claims: Map<string, NotedClaim>) {
    this.#provider = provider;
    this.#claims = claims;
    const devices = [...(before?.devices ?? [])];
    this.#devices = new Map(
      devices.map(([device, { at, messages, troubles = [] }]) => [device, { at: Date.parse(at), messages, troubles }]),
    );
    this.#refused = before?.head.refused ?? [];
    this.#since = before?.head.since ?? new Date().toISOString();
    this.#messages = before?.head.messages ?? 0;
    this.#newest = Math.max(0, ...[...this.#devices.values()].map(({ at }) => at));
  }

  /** With what earlier pumps have seen. */
  static async open(files: Files, provider: string): Promise<Seen> {
    const before = await sightingsIn(files, sightingsFile(provider));
    return new Seen(provider, before, await readClaims(files, provider));
  }

  get counts(): { messages: number; devices: number; newestAt: string } {
    const newestAt = this.#newest > 0 ? new Date(this.#newest).toISOString() : '';
    return { messages: this.#messages, devices: this.#devices.size, newestAt };
  }

  /** Whether a redirect was refused of which nobody has told. */
  get alarmed(): boolean {
    return this.#refused.length > 0;
  }

  /** Those: whoever takes them tells. They stay in the file until the next save. */
  takeRefused(): RefusedRedirect[] {
    const refused = this.#refused;
    this.#changed ||= refused.length > 0;
    this.#refused = [];
    return refused;
  }

  add({ device, at, body }: Passing): void {
    this.#changed = true;
    this.#messages++;
    this.#newest = Math.max(this.#newest, at);
    const event = deviceEvent(body);
    if (event?.event === 'redirect-refused' && this.#refused.length < mostRefused)
      this.#refused.push({ device, reason: event.reason });
    if (event?.event === 'claim') this.#note({ device, sequence: event.sequence, csr: event.csr });
    const known = this.#devices.get(device) ?? { at, messages: 0, troubles: [] };
    known.messages++;
    known.at = Math.max(known.at, at);
    if (event) {
      known.troubles.push(...Array<number>(troublesOf(event)).fill(at));
      known.troubles.splice(0, known.troubles.length - mostTroubles);
    }
    if (known.messages > 1 || this.#devices.size < mostSightings) this.#devices.set(device, known);
  }

  /** Messages come again, and in any order: a request is replaced by none that was asked for earlier. */
  #note(claim: NotedClaim): void {
    const known = this.#claims.get(claim.device);
    if (known && (known.sequence > claim.sequence || known.csr === claim.csr)) return;
    if (!known && this.#claims.size >= mostSightings) return;
    this.#claims.set(claim.device, claim);
    this.#claimed = true;
  }

  async save(files: Files): Promise<void> {
    if (this.#claimed) {
      this.#claimed = false;
      try {
        await files.write(claimsFile(this.#provider), toLines([...this.#claims.values()]));
      } catch (error) {
        this.#claimed = true;
        throw error;
      }
    }
    if (!this.#changed && Date.now() - this.#savedAt < silentMs) return;
    this.#changed = false;
    this.#savedAt = Date.now();
    const head: SightingsHead = {
      provider: this.#provider,
      since: this.#since,
      until: new Date().toISOString(),
      messages: this.#messages,
      ...(this.#refused.length > 0 && { refused: [...this.#refused] }),
    };
    const lines = [...this.#devices].map(
      ([device, { at, messages, troubles }]): Sighting => ({
        device,
        at: new Date(at).toISOString(),
        messages,
        ...(troubles.length > 0 && { troubles }),
      }),
    );
    try {
      await files.write(sightingsFile(this.#provider), packLines([head, ...lines]));
    } catch (error) {
      this.#changed = true;
      throw error;
    }
  }
}
