/**
 * The fleet's own authority, which makes certificates for keys that devices have made. The same request, authority and time make the
 * same certificate, byte for byte: serial numbers come of the key, and signatures are those of RFC 6979. So no list of what was made is
 * needed, and who repeats it makes no second one.
 */
import 'reflect-metadata';
import { createHash, createPrivateKey, createPublicKey, X509Certificate } from 'node:crypto';
import { p256 } from '@noble/curves/nist.js';
import * as x509 from '@peculiar/x509';

/** Clocks of devices and of clouds differ. */
const leewayMs = 24 * 3_600_000;
/** Where the authority itself is not over before. */
const validMs = 10 * 365 * leewayMs;

const algorithm = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' } as const;

/** Why no certificate is made: what comes from a device proves nothing but that it came from there. */
export type CsrProblem = 'no request' | 'not signed by its key' | 'not for this device' | 'another kind of key';

export interface Issuer {
  /** A certificate, DER, or why there is none. */
  issue(request: { device: string; csr: Uint8Array; at: Date }): Promise<Buffer | CsrProblem>;
}

/** PEM, both. Throws where the authority is none, or its key another one's. */
export function createIssuer({ certificate, key }: { certificate: string; key: string }): Issuer {
  const authority = new x509.X509Certificate(certificate);
  const own = createPrivateKey(key);
  const { kty, crv, d } = own.export({ format: 'jwk' });
  if (kty !== 'EC' || crv !== 'P-256' || !d) throw new Error('The authority for claims needs a key on P-256.');
  if (!new X509Certificate(certificate).ca) throw new Error('The certificate of the authority for claims is no CA.');
  if (!new X509Certificate(certificate).checkPrivateKey(own))
    throw new Error('The key of the authority for claims is not that of its certificate.');
  const secret = Buffer.from(d, 'base64url');

  return {
    async issue({ device, csr, at }) {
      const request = parsed(csr);
      if (!request) return 'no request';
      if (!(await request.verify().catch(() => false))) return 'not signed by its key';
      // Its whole subject: more names could be read as another device's somewhere.
      if (JSON.stringify(request.subjectName.toJSON()) !== JSON.stringify([{ CN: [device] }]))
        return 'not for this device';
      const spki = Buffer.from(request.publicKey.rawData);
      if (!isP256(spki)) return 'another kind of key';
      const notAfter = new Date(Math.min(at.getTime() + validMs, authority.notAfter.getTime()));
      const parts = {
        serialNumber: serialOf(authority, spki, device),
        subject: [{ CN: [device] }],
        issuer: authority.subjectName,
        notBefore: seconds(new Date(at.getTime() - leewayMs)),
        notAfter: seconds(notAfter),
        signingAlgorithm: algorithm,
        publicKey: request.publicKey,
        extensions: [
          new x509.BasicConstraintsExtension(false, undefined, true),
          new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
          new x509.ExtendedKeyUsageExtension([x509.ExtendedKeyUsage.clientAuth]),
          await x509.SubjectKeyIdentifierExtension.create(request.publicKey),
          await x509.AuthorityKeyIdentifierExtension.create(authority),
        ],
      };
      const unsigned = await x509.X509CertificateGenerator.create({ ...parts, signature: new Uint8Array(64) });
      const signature = p256.sign(signedPart(Buffer.from(unsigned.rawData)), secret);
      const made = await x509.X509CertificateGenerator.create({ ...parts, signature: new Uint8Array(signature) });
      return Buffer.from(made.rawData);
    },
  };
}

function parsed(csr: Uint8Array): x509.Pkcs10CertificateRequest | undefined {
  try {
    return new x509.Pkcs10CertificateRequest(new Uint8Array(csr));
  } catch {
    return undefined;
  }
}

function isP256(spki: Buffer): boolean {
  try {
    const { asymmetricKeyDetails } = createPublicKey({ key: spki, format: 'der', type: 'spki' });
    return asymmetricKeyDetails?.namedCurve === 'prime256v1';
  } catch {
    return false;
  }
}

/** Certificates tell no parts of seconds. */
const seconds = (time: Date): Date => new Date(Math.floor(time.getTime() / 1000) * 1000);

/** 127 bits, positive. */
function serialOf(authority: x509.X509Certificate, spki: Buffer, device: string): string {
  const digest = createHash('sha256')
    .update(Buffer.from(authority.publicKey.rawData))
    .update(spki)
    .update(device)
    .digest();
  const serial = digest.subarray(0, 16);
  serial[0] = ((serial[0] ?? 0) & 0x7f) | 0x40;
  return serial.toString('hex');
}

/** The first part of a certificate is what its signature is over; lengths there take two bytes at the most. */
function signedPart(der: Buffer): Buffer {
  const [, at] = lengthAt(der, 1);
  const [length, from] = lengthAt(der, at + 1);
  return der.subarray(at, from + length);
}

/** A length of DER at this place, and the place after it. */
function lengthAt(der: Buffer, at: number): [length: number, next: number] {
  const first = der[at] ?? 0;
  const bytes = first < 0x80 ? 0 : first & 0x7f;
  return bytes === 0 ? [first, at + 1] : [der.readUIntBE(at + 1, bytes), at + 1 + bytes];
}
