/** A message by SMTP, once: the server of the worker's settings, which takes it for all recipients together. */
import { once } from 'node:events';
import { connect } from 'node:net';
import { Readable } from 'node:stream';
import MailComposer from 'nodemailer/lib/mail-composer';
import SMTPConnection from 'nodemailer/lib/smtp-connection';
import { z } from 'zod';
import { AnswerLost, codeOf, notSent, type Sending } from './sending.ts';

export const SmtpSettings = z
  .strictObject({
    host: z.string().min(1),
    port: z.int().min(1).max(65_535).default(587),
    /** `tls` from the first byte (port 465), `starttls` before anything is said, or `none`: a relay on the same machine. */
    secure: z.enum(['tls', 'starttls', 'none']).default('starttls'),
    /** Sender's address. */
    from: z.email(),
    user: z.string().min(1).optional(),
    /** Name of the password in the secrets file or the environment. */
    passwordName: z.string().min(1).optional(),
  })
  .refine(({ user, passwordName }) => (user === undefined) === (passwordName === undefined), {
    message: 'user and passwordName belong together',
  })
  .refine(({ user, secure }) => user === undefined || secure !== 'none', {
    message: 'a password goes over tls or starttls only',
    path: ['secure'],
  });
export type SmtpSettings = z.infer<typeof SmtpSettings>;

export interface Mail {
  recipients: readonly string[];
  subject: string;
  lines: readonly string[];
  messageId: string;
  /** Of the message that this one goes on from. */
  inReplyTo?: string | undefined;
}

const operation = 'send a mail';

/** The client with its callbacks as promises; whatever breaks the connection rejects all of them. */
export async function sendMail(
  sending: Sending,
  { host, port, secure, from, user }: SmtpSettings,
  password: string | undefined,
  { recipients, subject, lines, messageId, inReplyTo }: Mail,
): Promise<void> {
  const { deadlineMs } = sending;
  const message = await new MailComposer({
    ...{ from, to: [...recipients], subject, messageId },
    text: `${lines.join('\n')}\n`,
    ...(inReplyTo !== undefined && { inReplyTo, references: inReplyTo }),
    headers: { 'Auto-Submitted': 'auto-generated' },
    ...{ disableFileAccess: true, disableUrlAccess: true },
  })
    .compile()
    .build();

  let whole = false;
  const signal = AbortSignal.timeout(deadlineMs);
  // Our own socket: where it leads is decided where that of every other connection is.
  const socket = connect({ host, port });
  let client: SMTPConnection | undefined;
  try {
    await once(socket, 'connect', { signal });
    const smtp = new SMTPConnection({
      ...{ host, port, connection: socket, secure: secure === 'tls' },
      ...{ requireTLS: secure === 'starttls', ignoreTLS: secure === 'none' },
      socketTimeout: deadlineMs,
    });
    client = smtp;
    const broken = new Promise<never>((_, reject) => {
      smtp.on('error', reject);
      signal.addEventListener('abort', () => reject(signal.reason));
    });
    broken.catch(() => {});
    const said = <T>(act: (done: (error: unknown, value?: T) => void) => void): Promise<T> =>
      Promise.race([
        broken,
        new Promise<T>((resolve, reject) => act((error, value) => (error ? reject(error) : resolve(value as T)))),
      ]);
    await said<void>((done) => smtp.connect(done));
    if (user !== undefined) await said((done) => smtp.login({ credentials: { user, pass: password } }, done));
    sending.begin();
    const source = Readable.from([message]);
    source.once('end', () => {
      whole = true;
    });
    await said((done) => smtp.send({ from, to: [...recipients] }, source, done));
  } catch (error) {
    const { responseCode } = error as { responseCode?: unknown };
    if (typeof responseCode === 'number') throw notSent(sending, operation, `its server answers ${responseCode}`);
    if (whole) throw new AnswerLost(`no answer to what was sent: ${codeOf(error)}`);
    throw notSent(sending, operation, `its server cannot be reached: ${codeOf(error)}`);
  } finally {
    client?.close();
    socket.destroy();
  }
}
