/**
 * Rules between the fields of an estate, on a value that may be wrong elsewhere: each rule reads what it needs with care,
 * so that one run names every mistake. What only planning can judge (redundancy against the clouds that are left) is not here.
 */
import { oneOf, type Problem, shown, valueAt } from './estate-problems.ts';
import { defaultAllowedNames, isSecretPath, placeholderName } from './placeholders.ts';
import { fleetProblems, replicationProblems } from './replication-wish.ts';
import type { ProviderType } from './service.ts';

type Entries = [string | number, unknown][];

const entries = (value: unknown): Entries =>
  Array.isArray(value)
    ? value.map((item, index): [number, unknown] => [index, item])
    : typeof value === 'object' && value !== null
      ? Object.entries(value)
      : [];
const text = (value: unknown): string | undefined => (typeof value === 'string' ? value : undefined);
const list = (value: unknown): string[] => entries(value).flatMap(([, item]) => text(item) ?? []);

/** Keys of `credentials` by cloud; the ones that must stand together are marked. */
const credentialKeys: Record<ProviderType, { required: string[]; optional: string[]; account: string }> = {
  aws: { required: ['access_key_id', 'secret_access_key'], optional: ['session_token'], account: 'account' },
  azure: { required: ['tenant_id', 'client_id', 'client_secret'], optional: [], account: 'subscription' },
  gcp: { required: ['project_id', 'key_file'], optional: [], account: 'project' },
};

function providerRules(file: unknown): Problem[] {
  const problems: Problem[] = [];
  const seen = new Set<string>();
  for (const [index, provider] of entries(valueAt(file, ['providers']))) {
    const at = (...path: PropertyKey[]) => ['providers', index, ...path];
    const name = text(valueAt(provider, ['name']));
    if (name !== undefined && seen.has(name))
      problems.push({ path: at('name'), found: `${shown(name, [])} a second time`, allowed: 'each name once' });
    if (name !== undefined) seen.add(name);

    const type = text(valueAt(provider, ['type']));
    if (type === undefined || !Object.hasOwn(credentialKeys, type)) continue;
    const { required, optional, account } = credentialKeys[type as ProviderType];
    for (const other of ['account', 'subscription', 'project'])
      if (other !== account && valueAt(provider, [other]) !== undefined)
        problems.push({
          path: at(other),
          found: `${other} of a provider of type ${type}`,
          allowed: `${account} for ${type}`,
          atKey: true,
        });
    const credentials = valueAt(provider, ['credentials']);
    if (entries(credentials).length === 0 || Array.isArray(credentials)) continue;
    const given = entries(credentials).map(([key]) => String(key));
    for (const key of given)
      if (![...required, ...optional].includes(key))
        problems.push({
          path: at('credentials', key),
          found: 'an unknown key',
          allowed: [...required, ...optional].join(', '),
          atKey: true,
        });
    for (const key of required)
      if (!given.includes(key))
        problems.push({ path: at('credentials', key), found: 'nothing', allowed: `${required.join(', ')} together` });
  }
  return problems;
}

function serviceRules(file: unknown): Problem[] {
  const names = entries(valueAt(file, ['providers'])).flatMap(([, one]) => text(valueAt(one, ['name'])) ?? []);
  const zones = entries(valueAt(file, ['compliance', 'data_residency']));
  const places = [...zones.map(([zone]) => String(zone)), ...new Set(zones.flatMap(([, regions]) => list(regions)))];
  const problems: Problem[] = [];
  for (const [service, value] of entries(valueAt(file, ['services']))) {
    const at = (...path: PropertyKey[]) => ['services', service, ...path];
    const preferred = valueAt(value, ['preferred_providers']);
    for (const [index, one] of Array.isArray(preferred) ? entries(preferred) : []) {
      const name = text(one);
      if (name === undefined) continue;
      if (!names.includes(name))
        problems.push({ path: at('preferred_providers', index), found: shown(name, []), allowed: oneOf(names) });
      else if (list(preferred).indexOf(name) !== index)
        problems.push({
          path: at('preferred_providers', index),
          found: `${shown(name, [])} a second time`,
          allowed: 'each name once',
        });
    }
    const residency = text(valueAt(value, ['data_residency']));
    if (residency !== undefined && !places.includes(residency))
      problems.push({
        path: at('data_residency'),
        found: shown(residency, []),
        allowed: `null, or of compliance.data_residency a zone or a region: ${oneOf(places)}`,
      });
    if (valueAt(value, ['replication']) !== undefined) {
      const redundancy = valueAt(value, ['redundancy']) ?? 1;
      if (redundancy === 1)
        problems.push({
          path: at('replication'),
          found: 'replication of a service with redundancy 1',
          allowed: 'replication where redundancy is 2 or more',
          atKey: true,
        });
      const sides = Array.isArray(preferred) ? list(preferred) : names;
      problems.push(...replicationProblems(valueAt(value, ['replication']), sides, at('replication')));
      if (valueAt(value, ['type']) === 'iot_core')
        problems.push(...fleetProblems(valueAt(value, ['replication']), at('replication')));
    }
    problems.push(...machineRules(value, at));
  }
  return problems;
}

/** min_instances <= instance_count <= max_instances, and both only with auto_scaling. */
function machineRules(service: unknown, at: (...path: PropertyKey[]) => PropertyKey[]): Problem[] {
  if (valueAt(service, ['type']) !== 'compute') return [];
  const number = (key: string, otherwise?: number): number | undefined => {
    const value = valueAt(service, ['configuration', key]) ?? otherwise;
    return typeof value === 'number' ? value : undefined;
  };
  const count = number('instance_count', 2);
  const min = number('min_instances');
  const max = number('max_instances');
  const problems: Problem[] = [];
  if (min !== undefined && count !== undefined && min > count)
    problems.push({
      path: at('configuration', 'min_instances'),
      found: String(min),
      allowed: `at most instance_count (${count})`,
    });
  if (max !== undefined && count !== undefined && max < count)
    problems.push({
      path: at('configuration', 'max_instances'),
      found: String(max),
      allowed: `at least instance_count (${count})`,
    });
  if (valueAt(service, ['configuration', 'auto_scaling']) !== true)
    for (const [key, value] of [
      ['min_instances', min],
      ['max_instances', max],
    ] as const)
      if (value !== undefined)
        problems.push({
          path: at('configuration', key),
          found: String(value),
          allowed: `${key} only with auto_scaling: true`,
        });
  return problems;
}

function weightRules(file: unknown): Problem[] {
  const weights = valueAt(file, ['placement', 'weights']);
  const defaults = { cost: 0.3, performance: 0.25, compliance: 0.25, reliability: 0.2 };
  const values = Object.entries(defaults).map(([key, otherwise]) => valueAt(weights, [key]) ?? otherwise);
  if (!values.every((value) => typeof value === 'number')) return [];
  const sum = values.reduce((total, value) => total + value, 0);
  if (Math.abs(sum - 1) < 1e-6) return [];
  return [
    {
      path: ['placement', 'weights'],
      found: `weights that add up to ${Math.round(sum * 1e6) / 1e6} (${values.join(' + ')})`,
      allowed: 'weights that add up to 1; those left out are 0.3, 0.25, 0.25, 0.2',
    },
  ];
}

/** Only what has a front of its own is steered by weights, and one kind of address stands under one name. */
function frontRules(file: unknown, names: readonly string[]): Problem[] {
  const balanced = valueAt(file, ['traffic', 'load_balancer', 'haproxy']) !== undefined;
  return entries(valueAt(file, ['traffic', 'fronts'])).flatMap(([service, fronts]) => {
    const at = (...path: PropertyKey[]) => ['traffic', 'fronts', service, ...path];
    const type = text(valueAt(file, ['services', service, 'type']));
    const problems: Problem[] = [];
    if (type !== undefined && type !== 'compute')
      problems.push({
        path: at(),
        found: `a service of type ${type}`,
        allowed: 'services of type compute; others are found by their endpoint records',
        atKey: true,
      });
    const hosts = entries(fronts).map(([provider, host]) => ({ provider, host: text(host) ?? '' }));
    const isAddress = (host: string): boolean => /^[0-9.]+(:|$)/.test(host);
    for (const { provider, host } of hosts) {
      if (!names.includes(String(provider)))
        problems.push({ path: at(provider), found: 'an unknown provider', allowed: oneOf(names), atKey: true });
      if (balanced !== host.includes(':') || (balanced && !isAddress(host)))
        problems.push({
          path: at(provider),
          found: shown(host, []),
          allowed: balanced
            ? 'an IPv4 address:port, since traffic.load_balancer sends traffic there'
            : 'a host name or an IPv4 address without a port, since DNS tells no ports',
        });
    }
    const addresses = hosts.filter(({ host }) => isAddress(host)).length;
    if (addresses > 0 && addresses < hosts.length)
      problems.push({
        path: at(),
        found: 'host names and addresses',
        allowed: 'all host names or all IPv4 addresses: one name is either an alias or has addresses',
        atKey: true,
      });
    return problems;
  });
}

function trafficAndApprovalRules(file: unknown): Problem[] {
  const names = entries(valueAt(file, ['providers'])).flatMap(([, one]) => text(valueAt(one, ['name'])) ?? []);
  const problems: Problem[] = [];
  const dns = text(valueAt(file, ['traffic', 'dns']));
  if (dns !== undefined && !names.includes(dns))
    problems.push({ path: ['traffic', 'dns'], found: shown(dns, []), allowed: oneOf(names) });
  problems.push(...frontRules(file, names));
  const approvers = entries(valueAt(file, ['approvals', 'approvers']));
  const required = valueAt(file, ['approvals', 'required']);
  if (typeof required === 'number' && approvers.length > 0 && required > approvers.length)
    problems.push({
      path: ['approvals', 'required'],
      found: String(required),
      allowed: `at most the number of approvers (${approvers.length})`,
    });
  const people = new Set<string>();
  for (const [index, approver] of approvers) {
    const name = text(valueAt(approver, ['name']));
    if (name !== undefined && people.has(name))
      problems.push({
        path: ['approvals', 'approvers', index, 'name'],
        found: `${shown(name, [])} a second time`,
        allowed: 'each name once',
      });
    if (name !== undefined) people.add(name);
    if (valueAt(file, ['approvals', 'identity']) === 'signed' && valueAt(approver, ['key']) === undefined)
      problems.push({
        path: ['approvals', 'approvers', index, 'key'],
        found: 'nothing',
        allowed: 'a key for each approver where identity is signed',
      });
  }
  if (valueAt(file, ['approvals', 'identity']) === 'signed' && approvers.length === 0)
    problems.push({
      path: ['approvals', 'identity'],
      found: 'signed, without approvers',
      allowed: 'signed where approvers are listed with their keys',
    });
  return problems;
}

/** Every string of the file: a placeholder only as the whole of a secret field, a secret field only a placeholder. */
function placeholderRules(value: unknown, allowedNames: readonly string[], path: PropertyKey[] = []): Problem[] {
  if (typeof value !== 'string')
    return entries(value).flatMap(([key, item]) => placeholderRules(item, allowedNames, [...path, key]));
  const secret = isSecretPath(path);
  const name = placeholderName(value);
  const allowed = `a placeholder \${NAME} as the whole value, NAME one of ${allowedNames.join(', ')}`;
  if (secret && name === undefined) return [{ path, found: 'a value that is not shown, not a placeholder', allowed }];
  if (secret && name !== undefined && !allowedNames.includes(name))
    return [{ path, found: `the name ${shown(name, [])}, which this worker does not allow`, allowed }];
  if (!secret && value.includes('${'))
    return [
      {
        path,
        found: shown(value, path),
        allowed: 'a placeholder only as the whole value of a secret field (credentials.*, webhook)',
      },
    ];
  return [];
}

export function ruleProblems(file: unknown, allowedNames: readonly string[] = defaultAllowedNames): Problem[] {
  return [
    ...providerRules(file),
    ...serviceRules(file),
    ...weightRules(file),
    ...trafficAndApprovalRules(file),
    ...placeholderRules(file, allowedNames),
  ];
}
