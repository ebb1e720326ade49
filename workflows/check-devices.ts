/** `checkDevices`: what the registries of an `iot_core` service hold, and how they differ. Takes no lock, changes nothing. */
import * as wf from '@temporalio/workflow';
import { registryCallsPerSecond } from '../model/fleet.ts';
import { gapsBetween } from '../model/fleet-mapping.ts';
import { CheckDevicesInput, type DevicesCheck } from '../model/operations.ts';
import { control, failure, watch } from './calls.ts';
import { Fleet } from './fleet.ts';
import { Board } from './progress.ts';
import { searchAttributes } from './search-attributes.ts';

export async function checkDevices(raw: unknown): Promise<DevicesCheck> {
  const board = new Board();
  const parsed = CheckDevicesInput.safeParse(raw ?? {});
  if (!parsed.success)
    throw failure(
      'InvalidInput',
      parsed.error.issues.map(({ path, message }) => `${path.join('.') || 'input'}: ${message}`).join('; '),
    );
  const input = parsed.data;
  const { service } = input;
  const { estate } = await control.loadEstate({ estate: input.estate });
  wf.upsertSearchAttributes([
    { key: searchAttributes.estate, value: estate.name },
    { key: searchAttributes.serviceName, value: service },
    { key: searchAttributes.serviceType, value: 'iot_core' },
  ]);
  const owner = { estate: estate.name, ...(await control.openEstate({ estate: estate.name })), service };
  const record = (await control.readServices({ estate: estate.name }))[service];
  const fleet = new Fleet(owner, record);
  /** Names the files of this run, under which others find them. */
  const name = (what: string): string => `${what}-${wf.workflowInfo().runId}`;

  switch (input.what) {
    case 'list': {
      const placement = fleet.at(input.provider);
      const to = estate.providers.find((one) => one.name === input.to)?.type;
      if (input.to !== undefined && !to) throw unknownProvider(input.to, estate.providers);
      const census = await board.step('census', () =>
        watch(`devices on ${placement.provider}`).censusDevices({
          placement,
          keptAt: placement,
          census: name('list'),
          to: to ?? null,
          callsPerSecond: input.calls_per_second ?? registryCallsPerSecond[placement.providerType],
        }),
      );
      return { what: 'list', service, provider: placement.provider, name: name('list'), census };
    }
    case 'diff': {
      const [source, target] = [fleet.at(input.from), fleet.at(input.to)];
      const [left, right] = await board.step('censuses', () =>
        Promise.all(
          [source, target].map((placement, side) =>
            watch(`devices on ${placement.provider}`).censusDevices({
              placement,
              keptAt: target,
              census: name(side === 0 ? 'left' : 'right'),
              to: side === 0 ? target.providerType : null,
              callsPerSecond: input.calls_per_second ?? registryCallsPerSecond[placement.providerType],
            }),
          ),
        ),
      );
      if (!left || !right) throw new Error('a census is missing');
      const diff = await board.step('diff', () =>
        watch('differences').diffDevices({ keptAt: target, left: name('left'), right: name('right') }),
      );
      const gaps = gapsBetween(source.providerType, target.providerType).map(({ becomes, text }) => ({
        becomes,
        text,
      }));
      return { what: 'diff', service, provider: target.provider, name: name('left'), left, right, diff, gaps };
    }
    case 'rows': {
      const { name: written, report, page } = input;
      const keptAt = fleet.at(input.provider);
      const rows = await board.step('rows', () => watch('rows').readDevices({ keptAt, name: written, report, page }));
      return { what: 'rows', service, ...rows };
    }
  }
}

const unknownProvider = (found: string, all: readonly { name: string }[]) =>
  failure('InvalidInput', `there is no provider ${found}; there are ${all.map(({ name }) => name).join(', ')}`);
