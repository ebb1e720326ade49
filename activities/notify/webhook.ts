/** A JSON document to a webhook, once. Slack's incoming webhooks answer 200 to what they have taken. */
import { request as plainRequest } from 'node:http';
import { request as tlsRequest } from 'node:https';
import { CloudError } from '../../model/errors.ts';
import { AnswerLost, codeOf, notSent, type Sending } from './sending.ts';

const operation = 'post to a webhook';

export function postJson(sending: Sending, address: string, document: unknown): Promise<void> {
  const { channel, deadlineMs } = sending;
  const url = URL.canParse(address) ? new URL(address) : undefined;
  if (!url || !['http:', 'https:'].includes(url.protocol))
    throw notSent(sending, operation, 'its secret is no https:// address: put the right one into the secrets file');
  const body = Buffer.from(JSON.stringify(document));
  return new Promise((resolve, reject) => {
    let whole = false;
    const request = (url.protocol === 'https:' ? tlsRequest : plainRequest)(url, {
      method: 'POST',
      headers: { 'content-type': 'application/json; charset=utf-8', 'content-length': body.length },
      agent: false,
      signal: AbortSignal.timeout(deadlineMs),
    });
    request.once('error', (error) =>
      reject(
        whole
          ? new AnswerLost(`no answer to what was sent: ${codeOf(error)}`)
          : notSent(sending, operation, `it cannot be reached: ${codeOf(error)}`),
      ),
    );
    request.once('response', (response) => {
      response.resume();
      const { statusCode = 0, headers } = response;
      if (statusCode >= 200 && statusCode < 300) return resolve();
      const retryAfter = Number(headers['retry-after']);
      if (statusCode !== 429) return reject(notSent(sending, operation, `it answers ${statusCode}`));
      const fields = { kind: 'Throttled' as const, provider: 'alerts', operation, resource: channel };
      return reject(
        new CloudError({ ...fields, ...(retryAfter > 0 && { retryAfterMs: Math.min(retryAfter, 600) * 1000 }) }),
      );
    });
    // Nothing of the message before the connection stands, secrets checked: what fails until then has sent nothing.
    request.once('socket', (socket) =>
      socket.once(url.protocol === 'https:' ? 'secureConnect' : 'connect', () => {
        sending.begin();
        whole = true;
        request.end(body);
      }),
    );
    request.flushHeaders();
  });
}
