/** One receiving link: sends what is stored and then what comes, as far as the client gives credit. */
import type { Sender } from 'rhea';
import type { Start } from './address.ts';
import type { EventHub } from './entities.ts';
import type { Streams } from './streams.ts';

export class Consumer {
  readonly link: Sender;
  readonly group: string;
  /** Owner level; a reader with a higher one displaces all others. */
  readonly epoch: number | undefined;
  #next: number;
  readonly #streams: Streams;
  readonly #hub: EventHub;
  readonly #partition: number;
  readonly #allowed: () => boolean;
  readonly #unwatch: () => void;
  // rhea does not lower `credit` by what was sent, only by what the other side has told since.
  #credit = 0;

  constructor(
    link: Sender,
    streams: Streams,
    hub: EventHub,
    place: { partition: number; group: string; start: Start; epoch: number | undefined; allowed: () => boolean },
  ) {
    this.link = link;
    this.#streams = streams;
    this.#hub = hub;
    this.#partition = place.partition;
    this.#allowed = place.allowed;
    this.group = `${hub.id}/${place.group}/${place.partition}`.toLowerCase();
    this.epoch = place.epoch;
    const log = streams.log(hub, place.partition);
    this.#next = log.position(place.start === 'latest' ? () => false : place.start);
    this.#unwatch = streams.watch(hub, place.partition, () => this.deliver());
    link.on('sender_flow', () => {
      this.#credit = (link as Sender & { credit: number }).credit;
      this.deliver();
    });
  }

  deliver(): void {
    const log = this.#streams.log(this.#hub, this.#partition);
    while (this.#credit > 0 && this.link.is_open()) {
      const entry = log.at(this.#next);
      if (!entry) return;
      // The token has expired or the role was taken away since the link was attached.
      if (!this.#allowed()) {
        this.link.close({ condition: 'amqp:unauthorized-access', description: 'Unauthorized access.' });
        return;
      }
      this.link.send(log.read(entry), undefined, 0);
      this.#credit--;
      this.#next = entry.sequence + 1;
    }
  }

  stop(): void {
    this.#unwatch();
  }
}
