/** A key that a device makes for itself, and what it proves with it. */
import 'reflect-metadata';
import {
  createHash,
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  webcrypto,
  X509Certificate,
} from 'node:crypto';
import * as x509 from '@peculiar/x509';
import type { AgentState, Claimed } from './state.ts';

const algorithm = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' } as const;

/** PEM; the curve that all three clouds take. */
export const newKey = (): string =>
  generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey.export({ type: 'pkcs8', format: 'pem' }).toString();

/** A certificate request for its ID, signed by that key: base64 of DER. */
export async function requestOf({ device, key }: { device: string; key: string }): Promise<string> {
  const own = createPrivateKey(key);
  const [pkcs8, spki] = [
    own.export({ type: 'pkcs8', format: 'der' }),
    createPublicKey(own).export({ type: 'spki', format: 'der' }),
  ];
  const request = await x509.Pkcs10CertificateRequestGenerator.create({
    name: [{ CN: [device] }],
    signingAlgorithm: algorithm,
    keys: {
      privateKey: await webcrypto.subtle.importKey('pkcs8', pkcs8, algorithm, false, ['sign']),
      publicKey: await webcrypto.subtle.importKey('spki', spki, algorithm, true, ['verify']),
    },
  });
  return Buffer.from(request.rawData).toString('base64');
}

/** The certificate with the key that it is for; undefined where that is none of the device's, or it names another one. */
export function claimedWith({
  device,
  der,
  claim,
  claimed,
}: {
  device: string;
  der: string;
  claim: AgentState['claim'];
  claimed: readonly Claimed[];
}): Claimed | undefined {
  const raw = Buffer.from(der, 'base64');
  const thumbprint = createHash('sha256').update(raw).digest('hex');
  const known = claimed.find((one) => one.thumbprint === thumbprint);
  if (known || !claim) return known;
  try {
    const certificate = new X509Certificate(raw);
    if (certificate.subject !== `CN=${device}` || !certificate.checkPrivateKey(createPrivateKey(claim.key)))
      return undefined;
    return { thumbprint, certificate: certificate.toString(), key: claim.key };
  } catch {
    return undefined; // no certificate
  }
}
