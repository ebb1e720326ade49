/** What a call needs, in the words of its cloud's access management: what is recorded of each caller, and what callers are held to. */
import { armActions, blobAction, queueAction } from '../azure/actions.ts';
import { operation } from '../azure/iot-hub/service-api.ts';
import type { Call } from './calls.ts';
import { awsRights } from './rights-aws.ts';
import { gcpRights } from './rights-gcp.ts';

export function rightsOf(call: Call): string[] {
  if (call.cloud === 'aws') return awsRights(call);
  return call.cloud === 'azure' ? azureRights(call) : gcpRights(call);
}

function azureRights({ host, method, path, query }: Call): string[] {
  if (host === 'management.azure.com') return armActions(method, decodeURIComponent(path));
  if (host.endsWith('.blob.core.windows.net')) return [blobAction(method, path, new URLSearchParams(query))];
  if (host.endsWith('.queue.core.windows.net')) return [queueAction(method, path, new URLSearchParams(query))];
  if (!host.endsWith('.azure-devices.net')) return [];
  const need = operation(method, path.split('/').filter(Boolean).map(decodeURIComponent))?.need;
  return [need ? `Microsoft.Devices/${need.action}` : `${host} ${method} ${path}`];
}
