/** Telling all channels of the estate file of something once, beside what the run does; what became of it is noted. */
import * as wf from '@temporalio/workflow';
import type { ChannelId, RedirectAlert } from '../model/alert.ts';
import { control, notify } from './calls.ts';
import { reason } from './progress.ts';

/** How long is waited for what is on its way when the run ends. */
const lastMs = 60_000;

export class Alerts {
  readonly #note: (what: string) => void;
  #open = 0;

  constructor(note: (what: string) => void) {
    this.#note = note;
  }

  /** Goes on whatever is cancelled meanwhile. */
  tell(alert: RedirectAlert): void {
    this.#open++;
    void wf.CancellationScope.nonCancellable(() => this.#tell(alert)).finally(() => {
      this.#open--;
    });
  }

  async settled(): Promise<void> {
    if (this.#open === 0) return;
    await wf.CancellationScope.nonCancellable(() => wf.condition(() => this.#open === 0, lastMs));
  }

  async #tell(alert: RedirectAlert): Promise<void> {
    const { estate, incident } = alert;
    try {
      const channels = await control.alertChannels({ estate });
      await Promise.all(channels.map((channel) => this.#send(channel, alert)));
    } catch (error) {
      this.#note(`nobody was told of ${incident} (${reason(error)})`);
    }
  }

  async #send(channel: ChannelId, alert: RedirectAlert): Promise<void> {
    try {
      const sent = await notify(`${channel}: ${alert.incident}`).sendAlert({ channel, alert });
      const told = {
        sent: 'was told',
        gone: 'is in the estate file no more',
        lost: 'has not said whether it was told',
      };
      this.#note(`${channel} ${told[sent.how]} of ${alert.incident}`);
    } catch (error) {
      this.#note(`${channel} was not told of ${alert.incident} (${reason(error)})`);
    }
  }
}
