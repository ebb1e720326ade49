/** A Slack and a mail server of the test's own: each keeps what arrives, and fails as it is told to. */
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { buffer, text } from 'node:stream/consumers';
import { SMTPServer } from 'smtp-server';

/** `refuses`: says no to what has come. `silent`: takes it, and breaks the connection before it has said so. */
type Mood = 'well' | 'refuses' | 'silent';

export interface Channel {
  readonly port: number;
  /** How often somebody has tried. */
  tries: number;
  /** Its mood at the n-th try, from 1. */
  mood: (n: number) => Mood;
  /** Whole messages that it has taken. */
  readonly taken: string[];
  close(): Promise<unknown>;
}

export async function slack(): Promise<Channel & { readonly webhook: string }> {
  const server = createServer(async (request, response) => {
    const body = await text(request);
    const mood = channel.mood(++channel.tries);
    if (mood === 'refuses') return void response.writeHead(503).end();
    channel.taken.push(body);
    if (mood === 'silent') return void request.socket.destroy();
    response.end('ok');
  });
  await once(server.listen(0, '127.0.0.1'), 'listening');
  const { port } = server.address() as AddressInfo;
  const close = async (): Promise<void> => void server.close().closeAllConnections();
  const webhook = `http://127.0.0.1:${port}/services/T000/B000/planted-webhook-secret`;
  const channel: Channel & { webhook: string } = { port, tries: 0, mood: () => 'well', taken: [], close, webhook };
  return channel;
}

/** A mail as its reader sees it: long lines in one piece. */
const unfolded = (mail: string): string => mail.replaceAll('=\r\n', '').replace(/\r\n[ \t]+/g, ' ');

export async function mailServer(): Promise<Channel> {
  const server = new SMTPServer({
    authOptional: true,
    disabledCommands: ['AUTH'],
    disableReverseLookup: true,
    hideSTARTTLS: true,
    onConnect: (_, done) => {
      const refuses = channel.mood(++channel.tries) === 'refuses';
      done(refuses ? Object.assign(new Error('not now'), { responseCode: 421 }) : null);
    },
    onData: async (stream, _, done) => {
      channel.taken.push(unfolded((await buffer(stream)).toString()));
      if (channel.mood(channel.tries) === 'well') return done(null);
      for (const connection of server.connections as Iterable<{ _socket: { destroy(): void } }>)
        connection._socket.destroy();
    },
  });
  server.on('error', () => {});
  const listening = server.listen(0, '127.0.0.1');
  await once(listening, 'listening');
  const { port } = listening.address() as AddressInfo;
  const close = (): Promise<void> => new Promise((resolve) => server.close(resolve));
  const channel: Channel = { port, tries: 0, mood: () => 'well', taken: [], close };
  return channel;
}
