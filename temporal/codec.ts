/**
 * Encrypts payloads before they leave the process: AES-256-GCM with a fresh nonce each, the key named in the payload's
 * metadata. What Temporal keeps and its UI shows is then ciphertext; IDs, type names and search attributes stay plain and
 * hold nothing secret.
 */
import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import type { Payload, PayloadCodec } from '@temporalio/common';
import protos from '@temporalio/proto';
import { z } from 'zod';

const encoding = 'binary/encrypted';
const nonceBytes = 12;
const tagBytes = 16;
const text = (value: string): Uint8Array => new TextEncoder().encode(value);
const word = (value: Uint8Array | null | undefined): string => new TextDecoder().decode(value ?? new Uint8Array());

/** The key file: which key encrypts, and all that may still be needed to decrypt. Rotate by adding a key and naming it. */
export const CodecKeys = z
  .strictObject({
    current: z.string().min(1),
    keys: z.record(
      z.string().min(1).max(100),
      z.base64().refine((key) => Buffer.from(key, 'base64').length === 32, 'must be 32 bytes in base64'),
    ),
  })
  .refine(({ current, keys }) => current in keys, { path: ['current'], error: 'must name one of the keys' });
export type CodecKeys = z.infer<typeof CodecKeys>;

export function readCodecKeys(file: string): CodecKeys {
  const parsed = CodecKeys.safeParse(JSON.parse(readFileSync(file, 'utf8')));
  // The file holds keys: what is wrong is said without what is there.
  if (!parsed.success)
    throw new Error(
      `${file}: ${parsed.error.issues.map(({ path, message }) => `${path.join('.') || 'file'}: ${message}`).join('; ')}`,
    );
  return parsed.data;
}

export class AesGcmCodec implements PayloadCodec {
  readonly #current: string;
  readonly #keys: ReadonlyMap<string, Buffer>;

  constructor({ current, keys }: CodecKeys) {
    this.#current = current;
    this.#keys = new Map(Object.entries(keys).map(([id, key]) => [id, Buffer.from(key, 'base64')]));
  }

  async encode(payloads: Payload[]): Promise<Payload[]> {
    return payloads.map((payload) => this.#encrypt(payload));
  }

  /** What is not encrypted is passed through: it was written before the codec was switched on. */
  async decode(payloads: Payload[]): Promise<Payload[]> {
    return payloads.map((payload) =>
      word(payload.metadata?.encoding) === encoding ? this.#decrypt(payload) : payload,
    );
  }

  #encrypt(payload: Payload): Payload {
    const nonce = randomBytes(nonceBytes);
    const cipher = createCipheriv('aes-256-gcm', this.#key(this.#current), nonce);
    cipher.setAAD(text(this.#current));
    const plain = protos.temporal.api.common.v1.Payload.encode(payload).finish();
    const data = Buffer.concat([nonce, cipher.update(plain), cipher.final(), cipher.getAuthTag()]);
    return { metadata: { encoding: text(encoding), 'encryption-key-id': text(this.#current) }, data };
  }

  #decrypt({ metadata, data }: Payload): Payload {
    const id = word(metadata?.['encryption-key-id']);
    const bytes = Buffer.from(data ?? []);
    const decipher = createDecipheriv('aes-256-gcm', this.#key(id), bytes.subarray(0, nonceBytes));
    decipher.setAAD(text(id));
    decipher.setAuthTag(bytes.subarray(-tagBytes));
    const plain = Buffer.concat([decipher.update(bytes.subarray(nonceBytes, -tagBytes)), decipher.final()]);
    return protos.temporal.api.common.v1.Payload.decode(plain);
  }

  #key(id: string): Buffer {
    const key = this.#keys.get(id);
    if (!key)
      throw new Error(
        `no key "${id}" among those of the codec; the key file must keep every key that was ever current`,
      );
    return key;
  }
}

/** What a client and a worker are given to encrypt everything, failure messages and stacks included. */
export const encryptedConverter = (keys: CodecKeys) => ({
  payloadCodecs: [new AesGcmCodec(keys)],
  failureConverterPath,
});
export const failureConverterPath = new URL('./failure-converter.ts', import.meta.url).pathname;
