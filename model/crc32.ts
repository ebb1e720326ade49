/** CRC-32 as zlib has it, and CRC-32C: of parts that are known one by one, and as the clouds write them. */

/** Multiplication by a matrix over GF(2), 32 columns as numbers. */
const times = (matrix: Uint32Array, vector: number): number => {
  let sum = 0;
  for (let bit = 0, rest = vector; rest !== 0; bit++, rest >>>= 1) if (rest & 1) sum ^= matrix[bit] as number;
  return sum >>> 0;
};

/** What the checksum of a row of parts is: of `a`, and `bytes` bytes after it whose checksum is `b`. */
type Combine = (a: number, b: number, bytes: number) => number;

/** `polynomial`: bit-reversed. */
function combiner(polynomial: number): Combine {
  const squared = (matrix: Uint32Array): Uint32Array => matrix.map((column) => times(matrix, column));
  // One zero bit: a shift, with the polynomial where a bit falls out.
  const bit = Uint32Array.from({ length: 32 }, (_, at) => (at === 0 ? polynomial : 2 ** (at - 1)));
  /** What appending 2^n zero bytes does. */
  const zeros = [squared(squared(squared(bit)))];
  for (let n = 1; n < 53; n++) zeros.push(squared(zeros[n - 1] as Uint32Array));
  return (a, b, bytes) => {
    let shifted = a;
    for (let n = 0, rest = bytes; rest > 0; n++, rest = Math.floor(rest / 2))
      if (rest % 2 === 1) shifted = times(zeros[n] as Uint32Array, shifted);
    return (shifted ^ b) >>> 0;
  };
}

export const crc32Combine = combiner(0xedb88320);
export const crc32cCombine = combiner(0x82f63b78);

/** Four bytes, big-endian, in base64. */
export const crcBase64 = (crc: number): string =>
  btoa(String.fromCharCode(crc >>> 24, (crc >>> 16) & 255, (crc >>> 8) & 255, crc & 255));

export const crcNumber = (base64: string): number =>
  [...atob(base64)].reduce((crc, letter) => ((crc << 8) | letter.charCodeAt(0)) >>> 0, 0);

export const crcHex = (crc: number): string => crc.toString(16).padStart(8, '0');
