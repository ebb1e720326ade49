/**
 * How a device proves who it is on MQTT: client ID = device ID, user name `<hub>/<device>/?api-version=…`, and either a
 * shared access signature as password or the certificate of its TLS connection.
 * https://learn.microsoft.com/azure/iot/iot-mqtt-connect-to-iot-hub
 */
import { X509Certificate } from 'node:crypto';
import type { TLSSocket } from 'node:tls';
import { covers, parseSignature } from '../event-hubs/sas.ts';
import type { DeviceRecord } from './device.ts';
import type { IotHub } from './entities.ts';

export interface Login {
  clientId: string;
  username: string | undefined;
  password: string | undefined;
  socket: TLSSocket;
}

/** Undefined if it is who it says, else why not. */
export function refusal(hub: IotHub, device: DeviceRecord | undefined, login: Login): string | undefined {
  const [host, user, version] = (login.username ?? '').split('/');
  if (host?.toLowerCase() !== hub.host) return 'the user name names another hub';
  if (user !== login.clientId) return 'client ID and user name differ';
  if (!version?.startsWith('?api-version=')) return 'the user name has no api-version';
  if (!device) return 'the device is not registered';
  if (device.status !== 'enabled') return 'the device is disabled';
  const { authentication } = device;
  switch (authentication.type) {
    case 'sas':
      return sasRefusal(hub, device, login.password);
    case 'selfSigned': {
      const certificate = login.socket.getPeerX509Certificate();
      const wanted = [authentication.primaryThumbprint, authentication.secondaryThumbprint].filter(Boolean);
      const given = [certificate?.fingerprint, certificate?.fingerprint256].map((print) => print?.replaceAll(':', ''));
      return given.some((print) => print && wanted.includes(print))
        ? undefined
        : 'the certificate is not the registered one';
    }
    case 'certificateAuthority':
      return chainRefusal(hub, device, login.socket.getPeerX509Certificate());
    default:
      return 'the device has no authentication';
  }
}

function sasRefusal(hub: IotHub, device: DeviceRecord, password: string | undefined): string | undefined {
  const signature = parseSignature(password ?? '');
  if (!signature) return 'no shared access signature';
  if (signature.expiresMs <= Date.now()) return 'the signature has expired';
  if (!covers(signature.resource, `${hub.host}/devices/${encodeURIComponent(device.deviceId)}`.toLowerCase()))
    return 'the signature is for something else';
  const policy = hub.policies.find(({ name, rights }) => name === signature.policy && rights.includes('DeviceConnect'));
  if (!hub.deviceKeys) return 'the hub takes no device keys';
  const keys = signature.policy
    ? policy && hub.localAuth
      ? [policy.primary, policy.secondary]
      : []
    : [device.authentication.primaryKey ?? '', device.authentication.secondaryKey ?? ''];
  return signature.signedBy(keys.filter(Boolean), 'base64') ? undefined : 'the signature is not valid';
}

function chainRefusal(hub: IotHub, device: DeviceRecord, certificate: X509Certificate | undefined): string | undefined {
  if (!certificate) return 'no client certificate';
  const now = Date.now();
  if (Date.parse(certificate.validFrom) > now || Date.parse(certificate.validTo) < now)
    return 'the certificate has expired';
  const [, name] = /(?:^|\n)CN=(.+)/.exec(certificate.subject) ?? [];
  if (name?.trim() !== device.deviceId) return "the certificate's common name is not the device ID";
  const trusted = hub.authorities
    .map((pem) => new X509Certificate(pem))
    .some((authority) => certificate.checkIssued(authority) && certificate.verify(authority.publicKey));
  return trusted ? undefined : 'the certificate does not chain to a verified authority of the hub';
}
