/** What one AMQP connection may do: the tokens it has put on `$cbs`, each valid for a path and until a time. */
import type { Directory, EntraTokens, EventHub, Right } from './entities.ts';
import { covers, parseSignature } from './sas.ts';

const entraAudience = 'https://eventhubs.azure.net';

type Claim = { expiresMs: number } & (
  | { type: 'sas'; resource: string; policy: string | undefined; signedBy: (keys: readonly string[]) => boolean }
  | { type: 'jwt'; principal: string }
);

export type Verdict = { ok: true; expiresMs: number } | { ok: false; reason: string };

export class Claims {
  readonly #host: string;
  readonly #directory: Directory;
  readonly #entra: EntraTokens;
  readonly #claims: Claim[] = [];

  constructor(host: string, directory: Directory, entra: EntraTokens) {
    this.#host = host;
    this.#directory = directory;
    this.#entra = entra;
  }

  /** Answers a put-token request with its AMQP management status. */
  put(type: string, token: string, audience: string): { status: number; description: string } {
    const path = audience.replace(/^\w+:\/\//, '').replace(/:\d+/, '');
    const [, entity = ''] = path.split('/');
    if (type === 'jwt') {
      const known = this.#entra(token, entraAudience);
      if (!known || known.expiresMs <= Date.now())
        return { status: 401, description: 'InvalidToken: the token is not valid' };
      this.#claims.push({ type: 'jwt', ...known });
      return { status: 202, description: 'Accepted' };
    }
    const signature = parseSignature(token);
    if (!signature) return { status: 401, description: 'InvalidSignature: The token has an invalid signature.' };
    if (signature.expiresMs <= Date.now()) return { status: 401, description: 'ExpiredToken: The token is expired.' };
    const hub = this.#directory.find(this.#host, entity);
    const claim: Claim = {
      type: 'sas',
      resource: signature.resource,
      policy: signature.policy,
      expiresMs: signature.expiresMs,
      signedBy: (keys) => signature.signedBy(keys, 'utf8'),
    };
    if (hub && !this.#judge(claim, hub, 'Listen').ok && !this.#judge(claim, hub, 'Send').ok)
      return { status: 401, description: 'InvalidSignature: The token has an invalid signature.' };
    this.#claims.push(claim);
    return { status: 202, description: 'Accepted' };
  }

  may(hub: EventHub, right: Right): Verdict {
    const verdicts = this.#claims.map((claim) => this.#judge(claim, hub, right));
    return (
      verdicts.findLast(({ ok }) => ok) ??
      verdicts.at(-1) ?? { ok: false, reason: 'No CBS token was put on this connection.' }
    );
  }

  #judge(claim: Claim, hub: EventHub, right: Right): Verdict {
    const refused = (reason: string): Verdict => ({ ok: false, reason });
    if (claim.expiresMs <= Date.now()) return refused('ExpiredToken: The token is expired.');
    if (claim.type === 'jwt')
      return hub.allows(claim.principal, right)
        ? { ok: true, expiresMs: claim.expiresMs }
        : refused(`Unauthorized access. '${right}' claim(s) are required to perform this operation.`);
    if (!hub.localAuth)
      return refused('LocalAuthDisabled: Authorization failed because SAS authentication is disabled.');
    // Clients sign for the link's own path: the hub, a partition of a consumer group, `$management`.
    const path = `${hub.host}/${hub.name}`.toLowerCase();
    if (!covers(claim.resource, path) && !covers(path, claim.resource))
      return refused('The token does not cover this entity.');
    const signer = hub.keys.find(
      (key) =>
        key.name === claim.policy &&
        (!key.entity || key.entity === hub.name) &&
        claim.signedBy([key.primary, key.secondary]),
    );
    if (!signer) return refused('InvalidSignature: The token has an invalid signature.');
    return signer.rights.includes(right) || signer.rights.includes('Manage')
      ? { ok: true, expiresMs: claim.expiresMs }
      : refused(`Unauthorized access. '${right}' claim(s) are required to perform this operation.`);
  }
}
