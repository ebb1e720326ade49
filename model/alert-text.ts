/** What an alert says, in plain words; and made harmless for the channel that shows it. */
import type { AnyAlert, RedirectAlert } from './alert.ts';
import { printable } from './text.ts';

const seconds = (ms: number): string => `${(ms / 1000).toFixed(1)} s`;
const time = (ms: number): string => new Date(ms).toISOString();

/** One line. Whatever is in a name, it stays one. */
export function alertTitle(alert: AnyAlert): string {
  if ('refused' in alert) return redirectTitle(alert);
  const {
    estate,
    service,
    event,
    direction: { from, to },
    lagMs,
    why,
  } = alert;
  const what =
    event === 'begin'
      ? `is ${seconds(lagMs)} behind`
      : why === undefined
        ? 'keeps up again'
        : `is not watched any more: ${why}`;
  return printable(`[${estate}] replication of ${service} from ${from} to ${to} ${what}`);
}

function redirectTitle({ estate, service, provider, refused }: RedirectAlert): string {
  const devices = `${refused.length} ${refused.length === 1 ? 'device' : 'devices'}`;
  return printable(`[${estate}] ${devices} of ${service} on ${provider} refused to go where they were told`);
}

function redirectLines(alert: RedirectAlert): string[] {
  const { service, provider, refused, at, incident, workflowId } = alert;
  return [
    alertTitle(alert),
    `Devices, and why: ${refused.map(({ device, reason }) => `${device} (${reason})`).join(', ')}`,
    `Seen: ${time(at)}`,
    `Incident: ${incident}`,
    `Run: ${workflowId}`,
    `What to do: see who can write to the registry of ${service} on ${provider}; npx multi-cloud watch ${service}`,
  ].map(printable);
}

export function alertLines(alert: AnyAlert): string[] {
  if ('refused' in alert) return redirectLines(alert);
  const { event, service, incident, at, begunAt, lagMs, worstMs, thresholdMs, workflowId } = alert;
  const lines = [
    alertTitle(alert),
    `Lag: ${seconds(lagMs)} at ${time(at)}, the longest ${seconds(worstMs)}; alerts above ${seconds(thresholdMs)}.`,
    event === 'begin' ? `Since: ${time(begunAt)}` : `From ${time(begunAt)} to ${time(at)}`,
    `Incident: ${incident}`,
    `Run: ${workflowId}`,
  ];
  if (event === 'begin') lines.push(`What to do: npx multi-cloud status; npx multi-cloud watch ${service}`);
  return lines.map(printable);
}

/** https://docs.slack.dev/messaging/formatting-message-text#escaping: without these three no link and no mention begins. */
export const slackText = (text: string): string =>
  text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');

/** The same for a repeat, so that a reader, or his mail program, knows it again. */
export const messageId = ({ incident, estate }: AnyAlert, event: AnyAlert['event']): string =>
  `<${incident}.${event}@${estate.replace(/[^a-z0-9-]/g, '-')}.multi-cloud>`;
