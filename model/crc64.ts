/**
 * CRC-64/NVME, eight bytes a step: what Blob Storage calculates of each block (its polynomial:
 * https://learn.microsoft.com/rest/api/storageservices/put-block) and S3 may know of an object. Node has none.
 */

/** The polynomial 0xad93d23594c93659, bit-reversed, in two halves. */
const [polynomialHigh, polynomialLow] = [0x9a6c9329, 0xac4bc9b5];

/** Low and high halves, for each of the eight bytes of a step. */
const low = new Int32Array(8 * 256);
const high = new Int32Array(8 * 256);
for (let byte = 0; byte < 256; byte++) {
  let [below, above] = [byte, 0];
  for (let bit = 0; bit < 8; bit++) {
    const out = below & 1;
    below = (below >>> 1) | (above << 31);
    above >>>= 1;
    if (out) {
      below ^= polynomialLow;
      above ^= polynomialHigh;
    }
  }
  low[byte] = below;
  high[byte] = above;
}
for (let at = 256; at < 8 * 256; at++) {
  const [below, above] = [low[at - 256] as number, high[at - 256] as number];
  low[at] = ((below >>> 8) | (above << 24)) ^ (low[below & 255] as number);
  high[at] = (above >>> 8) ^ (high[below & 255] as number);
}

/** The checksum of what is added to it, piece by piece. */
export class Crc64 {
  #low = -1;
  #high = -1;

  add(bytes: Uint8Array): void {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    let [below, above] = [this.#low, this.#high];
    let at = 0;
    for (const end = bytes.length & ~7; at < end; at += 8) {
      const first = below ^ view.getInt32(at, true);
      const second = above ^ view.getInt32(at + 4, true);
      const a = 1792 + (first & 255);
      const b = 1536 + ((first >>> 8) & 255);
      const c = 1280 + ((first >>> 16) & 255);
      const d = 1024 + (first >>> 24);
      const e = 768 + (second & 255);
      const f = 512 + ((second >>> 8) & 255);
      const g = 256 + ((second >>> 16) & 255);
      const h = second >>> 24;
      below = xor(low, a, b, c, d, e, f, g, h);
      above = xor(high, a, b, c, d, e, f, g, h);
    }
    for (; at < bytes.length; at++) {
      const index = (below ^ view.getUint8(at)) & 255;
      below = ((below >>> 8) | (above << 24)) ^ (low[index] as number);
      above = (above >>> 8) ^ (high[index] as number);
    }
    this.#low = below;
    this.#high = above;
  }

  /** Eight bytes, little-endian, as Blob Storage writes it. */
  get base64(): string {
    const bytes = Buffer.allocUnsafe(8);
    bytes.writeInt32LE(~this.#low, 0);
    bytes.writeInt32LE(~this.#high, 4);
    return bytes.toString('base64');
  }
}

/** Indexes are in range by construction. */
const xor = (
  table: Int32Array,
  a: number,
  b: number,
  c: number,
  d: number,
  e: number,
  f: number,
  g: number,
  h: number,
): number =>
  (table[a] as number) ^
  (table[b] as number) ^
  (table[c] as number) ^
  (table[d] as number) ^
  (table[e] as number) ^
  (table[f] as number) ^
  (table[g] as number) ^
  (table[h] as number);
