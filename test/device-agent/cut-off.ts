/** A device whose power is cut when this event happens, at this very point: `node cut-off.ts FILE EVENT`. */
import { runAgents } from '../../client/device-agent/run.ts';

const [file = '', step = ''] = process.argv.slice(2);
const { signal } = new AbortController();
await runAgents({
  file,
  signal,
  onEvent(event) {
    const name = event.event === 'connected' && event.trial ? 'arrived' : event.event;
    if (name === step) process.kill(process.pid, 'SIGKILL');
  },
});
