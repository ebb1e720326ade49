/** What an alert of refused redirects says, whatever is in a name. */
import { type RedirectAlert, SendAlertInput } from '../../model/alert.ts';
import { alertLines, alertTitle } from '../../model/alert-text.ts';

const alert: RedirectAlert = {
  ...{ estate: 'fleets', service: 'core', incident: 'core.aws.20260101T000000000Z', event: 'begin', provider: 'aws' },
  refused: [
    { device: 'd4', reason: 'signature' },
    { device: 'd5\r\nBcc: thief@example.com\u202e', reason: 'host' },
  ],
  ...{ at: Date.parse('2026-01-01T00:00:00Z'), workflowId: 'migrate/fleets/core' },
};

it('names devices and reasons, and who should look where', () => {
  expect(alertTitle(alert)).toBe('[fleets] 2 devices of core on aws refused to go where they were told');
  const lines = alertLines(alert);
  expect(lines[1]).toMatch(/^Devices, and why: d4 \(signature\), d5.*thief@example.com.* \(host\)$/);
  expect(lines.join('')).not.toMatch(/[\r\n\u202e]/);
  expect(lines.at(-1)).toContain('who can write to the registry of core on aws');
});

it('is taken by who sends it, and none without a device', () => {
  const channel = 'webhook-000000000000';
  expect(SendAlertInput.safeParse({ channel, alert }).success).toBe(true);
  expect(SendAlertInput.safeParse({ channel, alert: { ...alert, refused: [] } }).success).toBe(false);
});
