/** What is judged on every storage account, and the rights that making and removing one takes. */
import type { Json } from '../../../model/service.ts';
import type { Check, Observed } from '../driver.ts';

export function storageChecks(observed: Record<string, Observed>): Check[] {
  const { account, container, lifecycle } = observed;
  const resource = `storage account ${account?.outputs.name ?? ''}`;
  const seen = (key: string): Json | undefined => account?.properties[key];
  const closed = seen('publicBlobs') === false && seen('sharedKeys') === false;
  const open = container?.properties.publicAccess !== 'None';
  return [
    {
      name: 'encryption at rest',
      resource,
      ok: seen('infrastructureEncryption') === true,
      found: seen('infrastructureEncryption') === true ? 'Microsoft-managed keys, twice' : 'not twice',
    },
    {
      name: 'TLS only',
      resource,
      ok: seen('httpsOnly') === true && seen('minimumTlsVersion') === 'TLS1_2',
      found: `${seen('httpsOnly') === true ? 'HTTPS only' : 'HTTP too'}, ${String(seen('minimumTlsVersion'))}`,
    },
    {
      name: 'no public access',
      resource,
      ok: closed && !open,
      found: closed && !open ? 'no anonymous reads, no shared keys' : 'anonymous reads or shared keys are possible',
    },
    {
      name: 'versioning',
      resource,
      ok: seen('versioning') === true,
      found: `${seen('versioning') === true ? 'versions kept' : 'no versions'}, restorable for ${String(seen('restorableDays'))} days`,
    },
    {
      name: 'retention',
      resource,
      ok: lifecycle !== undefined,
      found: lifecycle ? JSON.stringify(lifecycle.properties) : 'no lifecycle policy',
    },
    {
      name: 'least privilege',
      resource,
      ok: observed['worker-stores']?.properties.on === 'account',
      found: String(observed['worker-stores']?.properties.role ?? 'no role'),
    },
  ];
}
