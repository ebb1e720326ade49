/** How much the suites of this folder do: `npm run test:scale` says it. Of those named `*.scale.ts` nothing runs otherwise. */
import { z } from 'zod';
import { type ProviderType, providerTypes } from '../../model/service.ts';

const number = (name: string, otherwise: number): number =>
  Number(process.env[`MULTI_CLOUD_SCALE_${name}`] ?? otherwise);

const cloud = (name: string, otherwise: ProviderType): ProviderType =>
  z.enum(providerTypes).parse(process.env[`MULTI_CLOUD_SCALE_${name}`] ?? otherwise);

const Way = z.tuple([z.enum(providerTypes), z.enum(providerTypes)]);
function ways(): [ProviderType, ProviderType][] {
  const given = process.env.MULTI_CLOUD_SCALE_WAYS;
  if (given === undefined) return [[cloud('FROM', 'azure'), cloud('TO', 'gcp')]];
  return given.split(',').map((way) => Way.parse(way.split('-')));
}

export const scale = {
  on: process.env.MULTI_CLOUD_SCALE === 'true',
  /** Writes and deletes of users, and how many of them a second. */
  changes: number('CHANGES', 2000),
  perSecond: number('RATE', 40),
  keys: number('KEYS', 1000),
  /** How long one cloud is parted from the worker. */
  partitionMs: number('PARTITION', 60) * 1000,
  /** Pumps, one after the other. */
  rotations: number('ROTATIONS', 1000),
  /** Objects that are compared. */
  objects: number('OBJECTS', 100_000),
  /** Of a fleet that moves, and of a registry that is copied; from where to where. */
  devices: number('DEVICES', 2000),
  registered: number('DEVICES', 100_000),
  /** Devices that are told to go in a second; 0: what each cloud takes. */
  told: number('TOLD', 0),
  /** How long a wave has to arrive, seconds. */
  window: number('WINDOW', 600),
  /** Requests that a registry takes in a second. */
  calls: number('CALLS', 500),
  from: cloud('FROM', 'azure'),
  to: cloud('TO', 'gcp'),
  /** Fleets that move at the same time, each another way. */
  ways: ways(),
};
