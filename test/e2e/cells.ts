/** The twelve cells as services of one estate, each a chain of operations of its own: they do not touch each other. */
import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { findStrays } from '../../activities/providers/strays.ts';
import { type OperationResult, taskQueue, workflowIds } from '../../model/operations.ts';
import type { ServiceRecord } from '../../model/record.ts';
import { type ProviderType, providerTypes, type ServiceType } from '../../model/service.ts';
import { chosen, whole } from '../faults/choice.ts';
import { type OwnWorker, writeEstate } from './own-worker.ts';

const types: ServiceType[] = ['storage', 'data_lake', 'compute', 'iot_core'];
export const cells = providerTypes.flatMap((provider) =>
  types.map((type) => ({ provider, type, service: `${provider}_${type}` })),
);
export type TestCell = (typeof cells)[number];

/** One cell of each type, chosen by the commit; with the whole matrix all of them. */
export const sampledCells: readonly TestCell[] = whole
  ? cells
  : chosen(
      cells.map((cell) => ({ ...cell, id: cell.service })),
      ({ type }) => type,
    );

const regions: Record<ProviderType, string> = { aws: 'us-west-2', azure: 'westus2', gcp: 'us-central1' };

/** Writes the estate file of all cells; nothing is protected. */
export function cellsEstate(estate: string): string {
  const services = Object.fromEntries(
    cells.map(({ provider, type, service }) => [
      service,
      { type, redundancy: 1, preferred_providers: [provider], protect: false },
    ]),
  );
  return writeEstate(join(mkdtempSync(join(tmpdir(), 'estate-')), 'estate.yaml'), estate, services);
}

export class CellsEstate {
  readonly #worker: OwnWorker;
  readonly #estate: string;
  #runs = 0;

  constructor(worker: OwnWorker, estate: string) {
    this.#worker = worker;
    this.#estate = estate;
  }

  start(type: string, input: object) {
    const workflowId = `${type}-${++this.#runs}`;
    return this.#worker.client.workflow.start(type, { taskQueue, workflowId, args: [input] });
  }

  async run(type: string, input: object): Promise<OperationResult> {
    return (await this.start(type, input)).result() as Promise<OperationResult>;
  }

  record(service: string): Promise<ServiceRecord> {
    return this.#worker.client.workflow.getHandle(workflowIds.cloudService(this.#estate, service)).query('record');
  }

  /** What the cloud still has of a service that is not in its record, and what the record has open. */
  async left({ service, provider: name, type }: TestCell): Promise<string[]> {
    const record = await this.record(service);
    const provider = await this.#worker.pool.get(name);
    const estate: { uid: string } = await this.#worker.client.workflow
      .getHandle(workflowIds.cloudEstate(this.#estate))
      .query('record');
    const signal = AbortSignal.timeout(30_000);
    const placement = {
      owner: { estate: this.#estate, uid: estate.uid, service, controller: '', generation: 1 },
      type,
      provider: name,
      providerType: name,
      region: regions[name],
      account: await provider.account(signal),
      configuration: {},
    };
    const known = record.placements.flatMap(({ resources }) => resources);
    const strays = await findStrays(provider, placement, known, signal);
    return [
      ...strays.filter((one) => one.service === service).map(({ kind, name: stray }) => `${kind} ${stray}`),
      ...record.intents.map((intent) => `intent ${intent.placement.provider} ${intent.placement.generation}`),
      ...record.orphans.map((orphan) => `orphan ${orphan.name}`),
    ];
  }
}
