/** A registry that takes so many requests a second and no more, as the gateway counts them. */
import { outputOf } from '../../activities/providers/object-store.ts';
import type { ProviderType } from '../../model/service.ts';
import type { PlacementRef } from '../../model/transfer.ts';
import { addFault, disarmFault, faults } from '../local/stack.ts';

const escaped = (text: string): string => text.replaceAll('.', '[.]');

/** What a request to the registry of a placement looks like. */
const requests: Record<ProviderType, (placement: PlacementRef) => { host?: string; path?: string }> = {
  aws: () => ({ host: '/^(iot|data-ats)[.]|[.]iot[.]/' }),
  azure: (placement) => ({ host: `/^${escaped(outputOf(placement, 'hub', 'host'))}/` }),
  gcp: (placement) => ({ path: `/[/]b[/]${escaped(outputOf(placement, 'registry', 'bucket'))}[/]/` }),
};

const everyMs = 1000;

export class Quota {
  readonly #fault: number;
  readonly #counting: NodeJS.Timeout;
  /** How many requests had come, and when. */
  readonly #counts: { at: number; seen: number }[] = [];

  private constructor(fault: number) {
    this.#fault = fault;
    this.#counting = setInterval(() => void this.#count().catch(() => {}), everyMs);
  }

  static async of({ ref }: { ref: PlacementRef }, perSecond: number): Promise<Quota> {
    const match = { cloud: ref.providerType, ...requests[ref.providerType](ref) };
    const { id } = await addFault({ name: 'quota', match, perSecond, effect: 'refuse', cause: 'throttled' });
    return new Quota(id);
  }

  /** Requests that came since, those that were refused, and how many came in a second while any came. */
  async end(): Promise<{ calls: number; throttled: number; perSecond: number; busySeconds: number }> {
    clearInterval(this.#counting);
    await this.#count();
    const { seen, hits } = await disarmFault(this.#fault);
    const busy = this.#counts.reduce((sum, { at, seen: now }, n) => {
      const before = this.#counts[n - 1];
      return before && now > before.seen ? sum + at - before.at : sum;
    }, 0);
    const busySeconds = busy / 1000;
    return { calls: seen, throttled: hits, perSecond: Math.round(seen / Math.max(1, busySeconds)), busySeconds };
  }

  async #count(): Promise<void> {
    const found = (await faults()).find(({ id }) => id === this.#fault);
    if (found) this.#counts.push({ at: performance.now(), seen: found.seen });
  }
}
