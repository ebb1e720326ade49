/**
 * The data plane of Event Hubs: AMQP 1.0 behind the gateway's TLS. A namespace is told by the host name in the AMQP open,
 * as the service does. Claims-based security on `$cbs`, entity properties on `$management`, senders and partition receivers.
 */
import type { Server } from 'node:net';
import rhea, { type Connection, type EventContext, type Receiver, type Sender } from 'rhea';
import { z } from 'zod';
import { parseAddress, parseFilter } from './address.ts';
import { Claims } from './claims.ts';
import { Consumer } from './consumer.ts';
import type { Directory, EntraTokens, EventHub, Right } from './entities.ts';
import { management } from './management.ts';
import type { StreamMessage, Streams } from './streams.ts';

const maxMessageBytes = 1024 * 1024;
const batchFormat = 0x80013700;

interface Request {
  message_id?: string;
  reply_to?: string;
  application_properties?: Record<string, unknown>;
  body?: unknown;
}
type Reply = { properties: Record<string, unknown>; body?: unknown };

const hostOf = (connection: Connection): string =>
  String(connection.remote?.open?.hostname ?? '')
    .toLowerCase()
    .replace(/:\d+$/, '');

export class AmqpServer {
  readonly #directory: Directory;
  readonly #streams: Streams;
  readonly #entra: EntraTokens;
  readonly #claims = new WeakMap<Connection, Claims>();
  readonly #consumers = new Set<Consumer>();
  readonly #connections = new Set<Connection>();

  constructor(directory: Directory, streams: Streams, entra: EntraTokens) {
    this.#directory = directory;
    this.#streams = streams;
    this.#entra = entra;
  }

  listen(port: number): Promise<Server> {
    const container = rhea.create_container({
      id: 'event-hubs',
      autoaccept: false,
      receiver_options: { max_message_size: maxMessageBytes, autoaccept: false },
      sender_options: { max_message_size: maxMessageBytes },
    });
    container.sasl_server_mechanisms.enable_anonymous();
    container.on('connection_open', ({ connection }: EventContext) => {
      this.#connections.add(connection);
      this.#claims.set(connection, new Claims(hostOf(connection), this.#directory, this.#entra));
    });
    container.on('receiver_open', ({ receiver }: EventContext) => receiver && this.#openReceiver(receiver));
    container.on('sender_open', ({ sender }: EventContext) => sender && this.#openSender(sender));
    container.on('sender_close', ({ sender }: EventContext) => this.#forget((consumer) => consumer.link === sender));
    container.on('message', (context: EventContext & { format?: number }) => this.#message(context));
    const gone = ({ connection }: EventContext): void => {
      this.#connections.delete(connection);
      this.#forget((consumer) => consumer.link.connection === connection);
    };
    container.on('connection_close', gone);
    container.on('disconnected', gone);
    // What a peer did wrong ends its own connection; the server goes on.
    for (const event of [
      'error',
      'protocol_error',
      'connection_error',
      'session_error',
      'receiver_error',
      'sender_error',
    ])
      container.on(event, () => {});
    return new Promise((resolve) => {
      const server = container.listen({ port, host: '127.0.0.1' });
      server.once('listening', () => resolve(server));
    });
  }

  /** Ends every link to a deleted hub. */
  drop(id: string): void {
    for (const consumer of this.#consumers)
      if (consumer.group.startsWith(`${id.toLowerCase()}/`))
        consumer.link.close({ condition: 'amqp:not-found', description: 'The messaging entity was deleted.' });
  }

  /** Refuses a link as the service does, or says which hub it is for. */
  #entity(link: Sender | Receiver, address: string, right: Right): EventHub | undefined {
    const host = hostOf(link.connection);
    const parsed = parseAddress(address);
    const hub = parsed && this.#directory.find(host, parsed.hub);
    const refuse = (condition: string, description: string): undefined => {
      link.close({ condition, description });
    };
    if (!parsed || !hub)
      return refuse('amqp:not-found', `The messaging entity 'sb://${host}/${address}' could not be found.`);
    const verdict = this.#claims.get(link.connection)?.may(hub, right);
    if (!verdict?.ok) return refuse('amqp:unauthorized-access', verdict?.reason ?? 'Unauthorized access.');
    if (parsed.partition !== undefined && parsed.partition >= hub.partitions)
      return refuse(
        'com.microsoft:argument-out-of-range',
        `The specified partition is invalid for an EventHub partition sender or receiver. It should be between 0 and ${hub.partitions - 1}.`,
      );
    if (
      parsed.consumerGroup &&
      !hub.consumerGroups.some((one) => one.toLowerCase() === parsed.consumerGroup?.toLowerCase())
    )
      return refuse('amqp:not-found', `The messaging entity '${address}' could not be found.`);
    return hub;
  }

  #openReceiver(receiver: Receiver): void {
    const address = receiver.target?.address ?? '';
    receiver.set_source({ address: receiver.source?.address ?? '' });
    receiver.set_target({ address });
    if (address !== '$cbs' && address !== '$management') this.#entity(receiver, address, 'Send');
  }

  #openSender(sender: Sender): void {
    const address = sender.source?.address ?? '';
    sender.set_source(sender.source ?? { address });
    sender.set_target({ address: sender.target?.address ?? '' });
    if (address === '$cbs' || address === '$management') return;
    const hub = this.#entity(sender, address, 'Listen');
    if (!hub) return;
    const { consumerGroup = '$Default', partition } = parseAddress(address) ?? {};
    const start = parseFilter(filterText(sender));
    if (partition === undefined || !start) {
      sender.close({
        condition: 'amqp:invalid-field',
        description: 'A partition receiver needs a partition and a valid filter.',
      });
      return;
    }
    const level = sender.properties?.['com.microsoft:epoch'];
    const epoch = level === undefined ? undefined : Number(level);
    const consumer = new Consumer(sender, this.#streams, hub, {
      partition,
      group: consumerGroup,
      start,
      epoch,
      allowed: () => {
        const now = this.#directory.find(hub.host, hub.name);
        return now !== undefined && this.#claims.get(sender.connection)?.may(now, 'Listen').ok === true;
      },
    });
    const rivals = [...this.#consumers].filter(({ group }) => group === consumer.group);
    const highest = Math.max(-1, ...rivals.map((rival) => rival.epoch ?? -1));
    const stolen = (link: Sender, by: string): void =>
      link.close({
        condition: 'amqp:link:stolen',
        description: `New receiver with higher epoch of '${by}' is created.`,
      });
    if (highest > (epoch ?? -1)) {
      consumer.stop();
      stolen(sender, String(highest));
      return;
    }
    if (epoch !== undefined)
      for (const rival of rivals) {
        this.#forget((one) => one === rival);
        stolen(rival.link, String(epoch));
      }
    else if (rivals.length >= 5) {
      consumer.stop();
      sender.close({
        condition: 'com.microsoft:receiver-quota-exceeded',
        description: 'Exceeded the maximum number of allowed receivers per partition in a consumer group which is 5.',
      });
      return;
    }
    this.#consumers.add(consumer);
  }

  #message(context: EventContext & { format?: number }): void {
    const { receiver, delivery, connection } = context;
    if (!receiver || !delivery) return;
    const address = receiver.target?.address ?? '';
    if (address === '$cbs' || address === '$management') {
      delivery.accept();
      this.#reply(connection, address, context.message as Request);
      return;
    }
    const hub = this.#entity(receiver, address, 'Send');
    if (!hub) return;
    const { partition } = parseAddress(address) ?? {};
    const { messages, key } = unpack(context);
    this.#streams.append(hub, messages, partition === undefined ? { key } : { partition });
    delivery.accept();
  }

  #reply(connection: Connection, node: string, request: Request): void {
    const answer = node === '$cbs' ? this.#putToken(connection, request) : this.#manage(connection, request);
    const isReplyLink = (link: Sender): boolean =>
      link.is_sender() &&
      link.source?.address === node &&
      (!request.reply_to || link.target?.address === request.reply_to);
    const link =
      connection.find_sender(isReplyLink) ??
      connection.find_sender((one: Sender) => one.is_sender() && one.source?.address === node);
    link?.send({
      ...(request.message_id === undefined ? {} : { correlation_id: request.message_id }),
      application_properties: answer.properties,
      body: answer.body ?? '',
    });
  }

  #putToken(connection: Connection, request: Request): Reply {
    const { type, name } = request.application_properties ?? {};
    const kind = String(type).endsWith('jwt') ? 'jwt' : 'sas';
    const verdict = this.#claims.get(connection)?.put(kind, String(request.body), String(name));
    return status(verdict?.status ?? 500, verdict?.description ?? 'no connection');
  }

  #manage(connection: Connection, request: Request): Reply {
    const properties = request.application_properties ?? {};
    const hub = this.#directory.find(hostOf(connection), String(properties.name));
    if (!hub) return status(404, `The messaging entity '${String(properties.name)}' could not be found.`);
    const claims = this.#claims.get(connection);
    const token = properties.security_token;
    // The request carries its own token; one link serves all entities of the namespace.
    if (typeof token === 'string')
      claims?.put(token.startsWith('SharedAccessSignature') ? 'sas' : 'jwt', token, `${hub.host}/${hub.name}`);
    if (!claims?.may(hub, 'Listen').ok && !claims?.may(hub, 'Send').ok) return status(401, 'Unauthorized access.');
    const body = management(this.#streams, hub, properties);
    return body ? { ...status(200, 'OK'), body } : status(400, 'The operation or the partition is not valid.');
  }

  #forget(which: (consumer: Consumer) => boolean): void {
    for (const consumer of this.#consumers)
      if (which(consumer)) {
        consumer.stop();
        this.#consumers.delete(consumer);
      }
  }
}

const status = (code: number, description: string): Reply => ({
  properties: { 'status-code': rhea.types.wrap_int(code), 'status-description': description },
});

function filterText(sender: Sender): string | undefined {
  const filter: unknown = sender.source?.filter?.['apache.org:selector-filter:string'];
  const value = filter && typeof filter === 'object' && 'value' in filter ? filter.value : filter;
  return value === undefined || value === null ? undefined : String(value);
}

/** What the decoder makes of bytes that are a message. */
const Decoded = z.custom<StreamMessage>((value) => typeof value === 'object' && value !== null && 'body' in value);
const decoded = (bytes: unknown): StreamMessage =>
  Decoded.parse(rhea.message.decode(z.instanceof(Buffer).parse(bytes)));

/** A batch is one transfer whose data sections are encoded messages; its envelope carries the partition key. */
function unpack(context: EventContext & { format?: number }): { messages: StreamMessage[]; key: string | undefined } {
  const raw: unknown = context.message;
  const keyOf = (message: StreamMessage): string | undefined => {
    const key: unknown = message.message_annotations?.['x-opt-partition-key'];
    return key === undefined || key === null ? undefined : String(key);
  };
  const envelope = Buffer.isBuffer(raw) ? decoded(raw) : Decoded.parse(raw);
  if (context.format !== batchFormat) return { messages: [envelope], key: keyOf(envelope) };
  const content: unknown = envelope.body?.content;
  const parts: unknown[] = Array.isArray(content) ? content : [content];
  return { messages: parts.map(decoded), key: keyOf(envelope) };
}
