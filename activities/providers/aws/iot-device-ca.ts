/** The authority that signs device certificates, as the worker's settings name it: registered, and letting nobody in by itself. */
import { resourceName } from '../../../model/names.ts';
import type { Placement, ResourceSpec } from '../../../model/service.ts';
import type { ResourceDriver } from '../driver.ts';
import type { Clients } from './clients.ts';
import { authorityDriver, certificateIdOf } from './iot-ca.ts';

const kind = 'aws.iot.ca-certificate';

export const deviceCaSpec = (placement: Placement, pem: string): ResourceSpec => ({
  key: 'device_ca',
  kind,
  // A tag's key ends at 128 characters.
  name: resourceName(placement, { limit: 100, suffix: 'ca' }),
  needs: [],
  holdsData: false,
  desired: { certificateId: certificateIdOf(pem), status: 'ACTIVE', mode: 'SNI_ONLY' },
});

export const deviceCaDriver = (clients: Clients, pem: string): ResourceDriver =>
  authorityDriver(clients, { kind, use: 'user', pemOf: () => pem });
