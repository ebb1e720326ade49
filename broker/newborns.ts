/** Devices that nobody has registered: let in where the authority of the fleet vouches for them, by the certificate that they come with. */
import type { X509Certificate } from 'node:crypto';
import type { RegisteredDevice } from '../model/registered-device.ts';

/** The device that a certificate of this authority is for, as it is to be registered: from then on it is known by that certificate alone. */
export function newborn(
  id: string,
  certificate: X509Certificate,
  authority: X509Certificate,
  now = Date.now(),
): RegisteredDevice | undefined {
  const valid = [certificate, authority].every(
    ({ validFrom, validTo }) => Date.parse(validFrom) <= now && now < Date.parse(validTo),
  );
  // An authority under this one is not asked for devices: each certificate is of this one itself.
  if (!valid || certificate.ca || !certificate.checkIssued(authority) || !certificate.verify(authority.publicKey))
    return undefined;
  const thumbprint = certificate.fingerprint256.replaceAll(':', '').toLowerCase();
  return {
    v: 1,
    id,
    status: 'enabled',
    authentication: { type: 'thumbprint', thumbprints: [thumbprint] },
    attributes: {},
    certificates: { [thumbprint]: certificate.raw.toString('base64') },
  };
}
