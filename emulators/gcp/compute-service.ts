/** The local Compute Engine put together: its API, its groups, the machines they run and the load balancers before them. */
import http from 'node:http';
import { join } from 'node:path';
import type { JsonObject } from '../../model/service.ts';
import type { LocalCloudSettings } from '../local-cloud.ts';
import { Compute } from './compute.ts';
import { isObject } from './compute-definition.ts';
import { attributes, Groups } from './compute-groups.ts';
import { base } from './compute-kinds.ts';
import { freeAddress, LoadBalancer } from './compute-load-balancer.ts';
import { Machine } from './compute-machine.ts';
import { type PrivateAccess, privateAccess } from './compute-private-access.ts';
import type { Api } from './json-api.ts';

export interface ComputeSurroundings {
  settings: Pick<LocalCloudSettings, 'state' | 'certificates' | 'operationMs' | 'account'>;
  /** 127.0.0.1 ports for machines (three each) and their way to Google's APIs (one). */
  ports: { first: number; count: number };
  /** Throws where the caller lacks a permission in the project. */
  require(caller: string, permission: string): void;
  /** Access token of a service account, as its machines get it. */
  token(serviceAccount: string): { access_token: string; expires_in: number };
  /** 127.0.0.1 port that serves a host of this cloud over plain HTTP. */
  portOf(host: string): number;
}

export interface ComputeService extends Api {
  stop(): Promise<void>;
}

/** Hosts that programs on instances talk to. */
const apiHosts = [
  'storage.googleapis.com',
  'pubsub.googleapis.com',
  'secretmanager.googleapis.com',
  'oauth2.googleapis.com',
];
const healthIntervalMs = 250;
const maxBootMs = 500;

export async function startCompute(surroundings: ComputeSurroundings): Promise<ComputeService> {
  const { settings, ports, token, portOf } = surroundings;
  const folder = join(settings.state, 'compute');
  const machines = new Map<string, { machine: Machine; healthy: boolean; slot: number }>();
  const balancer = new LoadBalancer();
  const log = (message: string): void => void process.stderr.write(`compute: ${message}\n`);
  let access: PrivateAccess | undefined;

  const compute: Compute = new Compute({
    folder,
    cloud: settings.state,
    project: settings.account,
    operationMs: settings.operationMs,
    hooks: { allocateAddress: freeAddress, changed, computed },
  });
  const groups = new Groups(
    compute.state,
    {
      start: startMachine,
      async stop(path) {
        const running = machines.get(path);
        await running?.machine.stop();
        if (machines.get(path) === running) machines.delete(path);
      },
      healthy: (path) => machines.get(path)?.healthy ?? !program(path),
    },
    // Instances boot after the operation is done; kept short, since what is measured is the operations.
    Math.min(settings.operationMs, maxBootMs),
    compute.quotas,
  );

  /** Whether an instance runs a program, or is a record only. */
  function program(path: string): boolean {
    return attributes(compute.state.resources.get(path) ?? {})['program-source'] !== undefined;
  }

  async function startMachine(path: string, instance: JsonObject): Promise<void> {
    if (!program(path) || machines.has(path) || !access) return;
    const used = new Set([...machines.values()].map(({ slot }) => slot));
    let slot = 0;
    while (used.has(slot)) slot++;
    const first = ports.first + 1 + slot * 3;
    if (first + 3 > ports.first + ports.count) {
      log(`${path} is not started: no ports are left for it`);
      return;
    }
    const [account] = Array.isArray(instance.serviceAccounts) ? instance.serviceAccounts : [];
    const serviceAccount = isObject(account) ? String(account.email) : '';
    const name = String(instance.name);
    const machine = new Machine({
      folder: join(folder, 'machines', name),
      name,
      zone: String(instance.zone).split('/').at(-1) ?? '',
      project: settings.account,
      attributes: attributes(instance),
      serviceAccount,
      token: () => token(serviceAccount),
      portOf,
      network: access.network,
      ports: { metadata: first, mqtt: first + 1, health: first + 2 },
      log: (message) => log(`${name}: ${message}`),
    });
    machines.set(path, { machine, healthy: false, slot });
    await machine.start().catch((error) => log(`${name}: ${error instanceof Error ? error.message : 'unknown'}`));
  }

  function changed(path: string, resource: JsonObject | undefined): void {
    const collection = path.split('/').at(-2);
    if (collection === 'instanceGroupManagers') {
      if (resource) groups.reconcile(path);
      else groups.release(path);
    } else if (collection === 'autoscalers' && typeof resource?.target === 'string')
      groups.reconcile(resource.target.slice(base.length));
    else if (collection === 'instances' && !resource) groups.recreate(path);
    else if (collection === 'forwardingRules') {
      if (!resource) balancer.close(path);
      else
        void balancer
          .open(path, {
            address: String(resource.IPAddress),
            ports: rulePorts(resource),
            backends: () => backends(String(compute.state.resources.get(path)?.backendService)),
          })
          .catch((error) => log(`${path}: ${error instanceof Error ? error.message : 'unknown'}`));
    }
  }

  /** Instances behind a backend service. */
  function behind(service: JsonObject | undefined): string[] {
    const entries = Array.isArray(service?.backends) ? service.backends : [];
    return entries.flatMap((entry) =>
      isObject(entry)
        ? groups
            .instances(String(entry.group).slice(base.length).replace('/instanceGroups/', '/instanceGroupManagers/'))
            .map(([path]) => path)
        : [],
    );
  }

  function backends(service: string): { port: number }[] {
    return behind(compute.state.resources.get(service.slice(base.length))).flatMap((path) => {
      const running = machines.get(path);
      return running?.healthy ? [{ port: running.machine.ports.mqtt }] : [];
    });
  }

  function computed(path: string, resource: JsonObject): JsonObject {
    const collection = path.split('/').at(-2);
    if (collection === 'instanceGroupManagers') return groups.describe(path, resource);
    if (collection === 'networks') {
      const own = [...compute.state.resources.values()].filter(
        ({ kind, network }) => kind === 'compute#subnetwork' && network === resource.selfLink,
      );
      return own.length > 0 ? { subnetworks: own.map(({ selfLink }) => selfLink ?? '') } : {};
    }
    if (path.endsWith('/getHealth')) {
      const service = compute.state.resources.get(path.replace(/\/getHealth$/, ''));
      const healthStatus = behind(service).map((instance) => ({
        instance: base + instance,
        healthState: machines.get(instance)?.healthy ? 'HEALTHY' : 'UNHEALTHY',
        port: 8883,
      }));
      return { kind: 'compute#backendServiceGroupHealth', healthStatus };
    }
    return {};
  }

  const health = setInterval(() => {
    for (const entry of machines.values())
      void probe(entry.machine.ports.health).then((healthy) => {
        entry.healthy = healthy;
      });
  }, healthIntervalMs);

  access = await privateAccess({
    folder,
    certificates: settings.certificates,
    port: ports.first,
    hosts: apiHosts,
    portOf,
  });
  compute.start();

  return {
    handle: (request) => compute.handle(request, (permission) => surroundings.require(request.caller, permission)),
    async stop() {
      clearInterval(health);
      groups.stop();
      compute.stop();
      balancer.stop();
      await Promise.all([...machines.values()].map(({ machine }) => machine.stop()));
      access?.stop();
    },
  };
}

function rulePorts(rule: JsonObject): number[] {
  if (Array.isArray(rule.ports)) return rule.ports.map(Number);
  return typeof rule.portRange === 'string' ? [Number(rule.portRange.split('-')[0])] : [];
}

function probe(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const request = http.get({ host: '127.0.0.1', port, path: '/healthz', timeout: 2000, agent: false }, (response) => {
      response.resume();
      resolve(response.statusCode === 200);
    });
    request.on('timeout', () => request.destroy());
    request.on('error', () => resolve(false));
  });
}
