/** Reads the host name that a TLS client asks for (SNI, RFC 6066) from its first bytes, without ending TLS. */

/** `incomplete`: more bytes are needed. `undefined`: no TLS, or a client that names no host. */
export type ServerName = string | undefined | 'incomplete';

const handshake = 22;
const clientHello = 1;
const serverNameExtension = 0;

export function serverName(bytes: Buffer): ServerName {
  if (bytes.length < 5) return 'incomplete';
  if (bytes[0] !== handshake) return undefined;
  const record = bytes.subarray(5, 5 + bytes.readUInt16BE(3));
  if (record.length < bytes.readUInt16BE(3)) return 'incomplete';
  try {
    if (record[0] !== clientHello) return undefined;
    let at = 4 + 2 + 32; // header, version, random
    at += 1 + record.readUInt8(at); // session ID
    at += 2 + record.readUInt16BE(at); // cipher suites
    at += 1 + record.readUInt8(at); // compression methods
    const end = at + 2 + record.readUInt16BE(at);
    at += 2;
    while (at + 4 <= end) {
      const type = record.readUInt16BE(at);
      const length = record.readUInt16BE(at + 2);
      // List length (2), name type (1), name length (2), name.
      if (type === serverNameExtension)
        return record.toString('latin1', at + 9, at + 9 + record.readUInt16BE(at + 7)).toLowerCase();
      at += 4 + length;
    }
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
  }
  return undefined;
}
