/** The authoritative name server of one local cloud: answers over UDP and TCP from the cloud's own zones, with their TTLs. */
import { createSocket } from 'node:dgram';
import { createServer } from 'node:net';
import { type Answer, AUTHORITATIVE_ANSWER, decode, encode, type Packet, TRUNCATED_RESPONSE } from 'dns-packet';

/** What stands under one name, by type. `values` of TXT are the strings of each record. */
export type RecordSet =
  | { type: 'TXT'; ttlSeconds: number; values: string[][] }
  | { type: 'A' | 'AAAA' | 'CNAME'; ttlSeconds: number; values: string[] };

/** Looks up a name in lower case, without a dot at its end; undefined where no zone of the cloud holds it. */
export type Lookup = (name: string) => Promise<{ zone: string; sets: RecordSet[] } | undefined>;

/** One of several, each as likely as its weight says; all are alike where every weight is 0. */
export function byWeight<T>(items: readonly { weight: number; item: T }[]): T | undefined {
  const sum = items.reduce((total, { weight }) => total + weight, 0);
  let left = Math.random() * (sum || items.length);
  return items.find(({ weight }) => {
    left -= sum ? weight : 1;
    return left < 0;
  })?.item;
}

const codes = { noError: 0, formatError: 1, serverFailure: 2, noSuchName: 3, refused: 5 };
/** What a client that says nothing of its own takes over UDP (RFC 1035, 4.2.1). */
const plainUdpSize = 512;

/** Listens on that port of 127.0.0.1; ends with the process. */
export async function serveDns({ port, lookup }: { port: number; lookup: Lookup }): Promise<void> {
  const udp = createSocket('udp4');
  udp.on('message', (message, { port: to, address }) => {
    void answerTo(message, lookup, true).then((answer) => answer && udp.send(answer, to, address));
  });
  const tcp = createServer((socket) => {
    let pending = Buffer.alloc(0);
    socket.on('error', () => socket.destroy());
    socket.on('data', (chunk) => {
      pending = Buffer.concat([pending, chunk]);
      while (pending.length >= 2 && pending.length >= 2 + pending.readUInt16BE(0)) {
        const end = 2 + pending.readUInt16BE(0);
        const message = pending.subarray(2, end);
        pending = pending.subarray(end);
        void answerTo(message, lookup, false).then((answer) => {
          const length = Buffer.alloc(2);
          length.writeUInt16BE(answer?.length ?? 0);
          if (answer) socket.write(Buffer.concat([length, answer]));
        });
      }
    });
  });
  await Promise.all([
    new Promise<void>((resolve, reject) => udp.once('error', reject).bind(port, '127.0.0.1', resolve)),
    new Promise<void>((resolve, reject) => tcp.once('error', reject).listen(port, '127.0.0.1', resolve)),
  ]);
}

async function answerTo(message: Buffer, lookup: Lookup, overUdp: boolean): Promise<Buffer | undefined> {
  let query: Packet;
  try {
    query = decode(message);
  } catch {
    return undefined; // not a DNS message: there is nobody to answer
  }
  const { id = 0, questions = [], additionals = [] } = query;
  const reply = (code: number, more: Packet = {}): Buffer =>
    encode({ type: 'response', id, flags: AUTHORITATIVE_ANSWER | code, questions, ...more });
  const [question] = questions;
  if (query.type !== 'query' || !question || questions.length !== 1) return reply(codes.formatError);
  try {
    const name = question.name.toLowerCase();
    const found = await lookup(name);
    if (!found) return reply(codes.refused);
    const sets = found.sets.filter(({ type }) => type === question.type || type === 'CNAME');
    const soa: Answer = {
      type: 'SOA',
      name: found.zone,
      ttl: 30,
      data: { mname: `ns.${found.zone}`, rname: `hostmaster.${found.zone}`, minimum: 30 },
    };
    if (sets.length === 0)
      return reply(found.sets.length > 0 ? codes.noError : codes.noSuchName, { authorities: [soa] });
    const answers = sets.flatMap((set) => answersOf(question.name, set));
    if (question.type !== 'CNAME') answers.push(...(await followed(sets, question.type, lookup)));
    const whole = reply(codes.noError, { answers });
    const edns = additionals.find((one) => one.type === 'OPT');
    const room = edns?.type === 'OPT' ? Math.max(plainUdpSize, edns.udpPayloadSize) : plainUdpSize;
    // The client asks again over TCP.
    return overUdp && whole.length > room ? reply(TRUNCATED_RESPONSE) : whole;
  } catch (error) {
    process.stderr.write(`DNS: ${question.name}: ${error instanceof Error ? error.message : String(error)}\n`);
    return reply(codes.serverFailure);
  }
}

/** What the names that CNAMEs lead to answer, as far as the cloud holds them itself (RFC 1034, 4.3.2). */
async function followed(from: readonly RecordSet[], type: string, lookup: Lookup): Promise<Answer[]> {
  const answers: Answer[] = [];
  let alias = from.find((one) => one.type === 'CNAME');
  for (let steps = 0; alias?.type === 'CNAME' && steps < 8; steps++) {
    const [name = ''] = alias.values.map((value) => value.toLowerCase().replace(/\.$/, ''));
    const sets = (await lookup(name))?.sets.filter((one) => one.type === type || one.type === 'CNAME') ?? [];
    answers.push(...sets.flatMap((set) => answersOf(name, set)));
    alias = sets.find((one) => one.type === 'CNAME');
  }
  return answers;
}

const answersOf = (name: string, { type, ttlSeconds: ttl, values }: RecordSet): Answer[] =>
  type === 'TXT'
    ? values.map((strings) => ({ type, name, ttl, data: strings }))
    : values.map((data) => ({ type, name, ttl, data }));
