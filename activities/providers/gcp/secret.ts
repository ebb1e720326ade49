/**
 * A secret and what lies in it: the broker's server key. The worker makes the key pair and hands it to Secret Manager in one
 * go; it appears in no specification, output, history or log. Only the certificate, which is public, is an output.
 */
import { createHash, X509Certificate } from 'node:crypto';
import { z } from 'zod';
import { fromTags, isSought, soughtTag, toTags } from '../../../model/names.ts';
import type { Owner } from '../../../model/service.ts';
import type { Call, Found, ResourceDriver } from '../driver.ts';
import { need } from './compute-resource.ts';
import type { Rest } from './rest.ts';
import { selfSigned } from './self-signed.ts';

const Secret = z.object({
  name: z.string(),
  labels: z.record(z.string(), z.string()).default({}),
  replication: z.object({
    userManaged: z.object({ replicas: z.array(z.object({ location: z.string() })) }).optional(),
  }),
});
const Page = z.object({ secrets: z.array(Secret).default([]), nextPageToken: z.string().optional() });
const Version = z.object({ name: z.string(), state: z.string() });
const Payload = z.object({ payload: z.object({ data: z.string() }) });
const KeyPair = z.object({ cert: z.string(), key: z.string() });

const base = 'https://secretmanager.googleapis.com/v1';
const shortName = (name: string): string => name.split('/').at(-1) ?? '';

export function secretDriver(project: string, rest: Rest): ResourceDriver {
  const collection = `${base}/projects/${project}/secrets`;
  const url = (name: string): string => `${collection}/${name}`;
  return {
    kind: 'gcp.secret-manager.secret',
    immutable: ['region'],
    async observe({ name }, { signal }) {
      const secret = await rest.find(url(name), { schema: Secret, signal });
      if (!secret) return undefined;
      return {
        id: secret.name,
        owner: fromTags(secret.labels),
        state: 'ready',
        properties: { region: secret.replication.userManaged?.replicas[0]?.location ?? 'automatic' },
        outputs: { resource: `projects/${project}/secrets/${name}` },
      };
    },
    async create({ name, desired }, { placement, signal }) {
      const body = {
        labels: toTags(placement.owner),
        replication: { userManaged: { replicas: [{ location: desired.region }] } },
      };
      await rest.call('POST', `${collection}?secretId=${name}`, { body, schema: Secret, signal });
    },
    async update() {
      // Its only property cannot change.
    },
    remove: ({ name }, _observed, { signal }) => rest.remove(url(name), signal),
    async list({ placement, signal }) {
      const [tag, value] = soughtTag(placement.owner);
      const found: Found[] = [];
      for (let token = ''; ; ) {
        const query = new URLSearchParams({
          filter: `labels.${tag}=${value}`,
          ...(token && { pageToken: token }),
        });
        const page = await rest.call('GET', `${collection}?${query}`, { schema: Page, signal });
        for (const { name, labels } of page.secrets) {
          const owner = fromTags(labels);
          if (isSought(owner, placement.owner))
            found.push({ kind: 'gcp.secret-manager.secret', name: shortName(name), id: name, owner });
        }
        if (!page.nextPageToken) return found;
        token = page.nextPageToken;
      }
    },
  };
}

/**
 * The newest version of the needed secret, `name` being `<secret>/server-key-pair`. Owned by the secret's labels: versions
 * carry none. `desired`: the DNS name that the certificate is for; it is for the reserved address as well.
 */
export function serverKeyPairDriver(project: string, rest: Rest): ResourceDriver {
  const secretOf = (name: string): string => `${base}/projects/${project}/secrets/${name.split('/')[0]}`;
  const ownerOf = async (name: string, call: Pick<Call, 'signal'>): Promise<Owner | undefined> =>
    fromTags((await rest.find(secretOf(name), { schema: Secret, signal: call.signal }))?.labels);
  const newest = async (
    name: string,
    { signal }: Pick<Call, 'signal'>,
  ): Promise<z.infer<typeof KeyPair> | undefined> => {
    // `latest` names the newest version even when it is destroyed, and then cannot be read.
    const latest = await rest.find(`${secretOf(name)}/versions/latest`, { schema: Version, signal });
    if (latest?.state !== 'ENABLED') return undefined;
    const { payload } = await rest.call('GET', `${base}/${latest.name}:access`, { schema: Payload, signal });
    return KeyPair.parse(JSON.parse(Buffer.from(payload.data, 'base64').toString('utf8')));
  };
  const write = async (name: string, desired: Record<string, unknown>, call: Call): Promise<void> => {
    const commonName = String(desired.serverName);
    const pair = await selfSigned({
      commonName,
      usage: 'server',
      validMs,
      alternativeNames: [
        { type: 'dns', value: commonName },
        { type: 'ip', value: need(call, 'address', 'address') },
      ],
    });
    const data = Buffer.from(JSON.stringify(pair)).toString('base64');
    const body = { payload: { data } };
    await rest.call('POST', `${secretOf(name)}:addVersion`, { body, schema: z.unknown(), signal: call.signal });
  };
  return {
    kind: 'gcp.secret-manager.server-key-pair',
    immutable: ['serverName'],
    async observe({ name }, call) {
      const pair = await newest(name, call);
      if (!pair) return undefined;
      const certificate = new X509Certificate(pair.cert);
      return {
        id: `${name}/${createHash('sha256').update(certificate.raw).digest('hex').slice(0, 16)}`,
        owner: await ownerOf(name, call),
        state: 'ready',
        properties: { serverName: certificate.subject.replace('CN=', '') },
        outputs: { certificate: pair.cert, serverName: certificate.subject.replace('CN=', '') },
      };
    },
    async create({ name, desired }, call) {
      // A second version would leave running brokers and new ones with different keys.
      if (await newest(name, call)) return;
      await write(name, desired, call);
    },
    async update() {
      // Its only property cannot change.
    },
    async remove({ name }, _observed, { signal }) {
      const version = await rest.find(`${secretOf(name)}/versions/latest`, { schema: Version, signal });
      if (version && version.state !== 'DESTROYED')
        await rest.call('POST', `${base}/${version.name}:destroy`, { body: {}, schema: z.unknown(), signal });
    },
    // Found, and deleted, with its secret.
    list: async () => [],
  };
}

/** Devices pin this certificate, so it outlives them; replacing it is a replacement of the placement. */
const validMs = 10 * 365 * 24 * 3600 * 1000;
