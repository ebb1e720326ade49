import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  DeleteCACertificateCommand,
  IoTClient,
  RegisterCACertificateCommand,
  UpdateCACertificateCommand,
} from '@aws-sdk/client-iot';
import { authority } from '../../emulators/certificates.ts';
import { cases } from './cases.ts';
import { dnsConformance, trafficConformance } from './dns.ts';
import { lettingNewbornsIn } from './newborns.ts';
import { testProviders } from './providers.ts';
import { conformance } from './suite.ts';
import { bareAws, tamperAws } from './tamper-aws.ts';

/** Of somebody else in the account. Registrations have no names: a scan has to read the tags of each, whatever it looks for. */
const iot = new IoTClient({ region: testProviders.aws.region });
let certificateId: string | undefined;
beforeAll(async () => {
  const { cert } = await authority(mkdtempSync(join(tmpdir(), 'ca-')), 'ca', 'a CA of somebody else');
  const command = new RegisterCACertificateCommand({ caCertificate: cert, certificateMode: 'SNI_ONLY' });
  ({ certificateId } = await iot.send(command));
});
afterAll(async () => {
  await iot.send(new UpdateCACertificateCommand({ certificateId, newStatus: 'INACTIVE' }));
  await iot.send(new DeleteCACertificateCommand({ certificateId }));
});

const own = { cloud: 'aws', tamper: tamperAws, bare: bareAws } as const;
for (const test of cases) conformance(`aws ${test.type}`, { ...testProviders.aws, ...own, ...lettingNewbornsIn(test) });
dnsConformance('aws');
trafficConformance('aws');
