/** Telling the channels of the estate file. Served beside the workflows: the secrets here are those of channels, no cloud's. */
import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { ApplicationFailure, Context } from '@temporalio/activity';
import { z } from 'zod';
import { type AnyAlert, SendAlertInput, type SentAlert } from '../../model/alert.ts';
import { alertLines, alertTitle, messageId, slackText } from '../../model/alert-text.ts';
import type { Estate } from '../../model/estate.ts';
import { parseEstateFile } from '../../model/estate-file.ts';
import { placeholderName } from '../../model/placeholders.ts';
import { asFailure } from '../providers/calls.ts';
import { type SmtpSettings, sendMail } from './mail.ts';
import { AnswerLost, notSent, type Sending } from './sending.ts';
import { postJson } from './webhook.ts';

export interface NotifyDependencies {
  estateFile: string;
  allowedNames?: readonly string[] | undefined;
  smtp?: SmtpSettings | undefined;
  /** Where `${NAME}` and the password of the mail server are looked up. */
  secrets: () => Readonly<Record<string, string | undefined>>;
  /** Longest that one message may take, ms. */
  deadlineMs?: number;
}

export interface NotifyActivities {
  /** The channels that are to be told; none where monitoring is off. */
  alertChannels(input: { estate: string }): Promise<string[]>;
  /** Sends one message to one channel, at most once. */
  sendAlert(input: SendAlertInput): Promise<SentAlert>;
}

type Channel = Estate['monitoring']['alert_channels'][number];

const isAddress = (text: string): boolean => z.email().safeParse(text).success;

const idOf = (channel: Channel): string =>
  `${channel.type}-${createHash('sha256').update(JSON.stringify(channel)).digest('hex').slice(0, 12)}`;

/** What a heartbeat carries: whether a message is under way, of which a worker that dies can tell nothing any more. */
const UnderWay = z.strictObject({ underWay: z.boolean() });

export function createNotifyActivities(dependencies: NotifyDependencies): NotifyActivities {
  const { estateFile, allowedNames, smtp, secrets, deadlineMs = 30_000 } = dependencies;

  async function channels(estate: string): Promise<Channel[]> {
    const own = parseEstateFile(await readFile(estateFile, 'utf8'), { allowedNames });
    // Whoever mends the file is waited for.
    if (!own.ok) throw ApplicationFailure.retryable('The estate file of this worker is refused.', 'InvalidInput');
    const { name, monitoring } = own.estate;
    if (name !== estate)
      throw ApplicationFailure.nonRetryable(`estate: this worker serves ${name}; found another one`, 'InvalidInput');
    return monitoring.enabled ? monitoring.alert_channels : [];
  }

  function secret(sending: Sending, variable: string | undefined): string {
    const value = variable === undefined ? undefined : secrets()[variable];
    if (value) return value;
    throw notSent(
      sending,
      'read the secret',
      `${variable ?? 'its webhook'} is missing in the worker's secrets file or environment`,
    );
  }

  async function send(sending: Sending, channel: Channel, alert: AnyAlert): Promise<void> {
    const lines = alertLines(alert);
    if (channel.type !== 'email') {
      const address = secret(sending, placeholderName(channel.webhook));
      const text = lines.join('\n');
      return postJson(sending, address, channel.type === 'slack' ? slackMessage(text) : { ...alert, text });
    }
    if (!smtp)
      throw ApplicationFailure.nonRetryable("The worker's settings name no mail server (smtp).", 'NotSupported');
    const recipients = channel.recipients.filter(isAddress);
    if (recipients.length === 0)
      throw ApplicationFailure.nonRetryable('None of the recipients is an e-mail address.', 'InvalidInput');
    const password = smtp.passwordName === undefined ? undefined : secret(sending, smtp.passwordName);
    return sendMail(sending, smtp, password, {
      recipients,
      subject: alertTitle(alert),
      lines,
      messageId: messageId(alert, alert.event),
      ...(alert.event === 'end' && { inReplyTo: messageId(alert, 'begin') }),
    });
  }

  return {
    alertChannels: async ({ estate }) => (await channels(estate)).map(idOf),

    sendAlert(raw) {
      const { data: input, error } = SendAlertInput.safeParse(raw);
      if (!input) throw ApplicationFailure.nonRetryable(z.prettifyError(error), 'InvalidInput');
      const context = Context.current();
      const before = UnderWay.safeParse(context.info.heartbeatDetails).data;
      return asFailure(async (): Promise<SentAlert> => {
        if (before?.underWay) {
          context.heartbeat({ underWay: false });
          return { how: 'lost', why: 'the worker died while it was sent' };
        }
        const channel = (await channels(input.alert.estate)).find((one) => idOf(one) === input.channel);
        if (!channel) return { how: 'gone' };
        const begin = (): void => context.heartbeat({ underWay: true });
        try {
          await send({ channel: input.channel, deadlineMs, begin }, channel, input.alert);
          return { how: 'sent' };
        } catch (error) {
          if (error instanceof AnswerLost) return { how: 'lost', why: error.message };
          context.heartbeat({ underWay: false });
          throw error;
        }
      });
    },
  };
}

/** Plain text: no name can become markup, a link or a mention. */
const slackMessage = (text: string): object => ({
  text: slackText(text),
  ...{ mrkdwn: false, link_names: false, unfurl_links: false, unfurl_media: false },
});
