/** The identity of a placement's machines: a service account without keys. What it may do is granted where it is needed, see `iam-member.ts`. */
import { z } from 'zod';
import { isSought, resourceName } from '../../../model/names.ts';
import type { Placement } from '../../../model/service.ts';
import type { Found, ResourceDriver } from '../driver.ts';
import { describeOwner, ownerInDescription } from './ownership.ts';
import type { Rest } from './rest.ts';

const ServiceAccount = z.object({
  name: z.string(),
  email: z.string(),
  uniqueId: z.string(),
  displayName: z.string().default(''),
  description: z.string().optional(),
  disabled: z.boolean().default(false),
});

const Page = z.object({ accounts: z.array(ServiceAccount).default([]), nextPageToken: z.string().optional() });

/** Account IDs have 6 to 30 characters. */
export const accountName = (placement: Placement, suffix?: string): string =>
  resourceName(placement, suffix === undefined ? { limit: 30 } : { limit: 30, suffix });

export const accountEmail = (project: string, name: string): string => `${name}@${project}.iam.gserviceaccount.com`;

export function serviceAccountDriver(project: string, rest: Rest): ResourceDriver {
  const collection = `https://iam.googleapis.com/v1/projects/${project}/serviceAccounts`;
  const url = (name: string): string => `${collection}/${accountEmail(project, name)}`;
  return {
    kind: 'gcp.iam.service-account',
    immutable: [],
    async observe({ name }, { signal }) {
      const account = await rest.find(url(name), { schema: ServiceAccount, signal });
      if (!account) return undefined;
      return {
        id: account.name,
        owner: ownerInDescription(account.description),
        state: 'ready',
        properties: { displayName: account.displayName, disabled: account.disabled },
        outputs: { email: account.email, uniqueId: account.uniqueId },
      };
    },
    async create({ name, desired }, { placement, signal }) {
      const serviceAccount = { displayName: desired.displayName, description: describeOwner(placement.owner) };
      const body = { accountId: name, serviceAccount };
      await rest.call('POST', collection, { body, schema: ServiceAccount, signal });
    },
    async update({ name, desired }, _observed, drift, { signal }) {
      if (drift.includes('displayName')) {
        const body = { serviceAccount: { displayName: desired.displayName }, updateMask: 'displayName' };
        await rest.call('PATCH', url(name), { body, schema: z.unknown(), signal });
      }
      if (drift.includes('disabled'))
        await rest.call('POST', `${url(name)}:enable`, { body: {}, schema: z.unknown(), signal });
    },
    remove: ({ name }, _observed, { signal }) => rest.remove(url(name), signal),
    async list({ placement, signal }) {
      const found: Found[] = [];
      for (let token = ''; ; ) {
        const page = await rest.call('GET', `${collection}?pageSize=100${token && `&pageToken=${token}`}`, {
          schema: Page,
          signal,
        });
        for (const { description, email, name } of page.accounts) {
          const owner = ownerInDescription(description);
          if (isSought(owner, placement.owner))
            found.push({ kind: 'gcp.iam.service-account', name: email.split('@')[0] ?? '', id: name, owner });
        }
        if (!page.nextPageToken) return found;
        token = page.nextPageToken;
      }
    },
  };
}
