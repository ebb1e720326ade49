/** Reads the dated sheets beside this file. For programs and activities: it touches the disk, which `model/` never does. */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parse } from 'yaml';
import { z } from 'zod';
import { factSheets } from '../model/facts.ts';
import { PermissionSheet, type Permissions } from '../model/permissions.ts';
import { PriceSheet, type Prices } from '../model/prices.ts';
import { providerTypes } from '../model/service.ts';
import type { Sheets } from '../model/sheets.ts';

/** `folder` holds `prices/<cloud>.yaml` and `facts/*.yaml`. Throws with the file's name when a sheet is missing, wrong or has gaps. */
export function loadSheets(folder: string): Sheets {
  const fact = <Schema extends z.ZodType>(name: string, schema: Schema): z.infer<Schema> =>
    read(join(folder, 'facts', `${name}.yaml`), schema);
  const { regions, reference_cities } = fact('regions', factSheets.regions);
  const facts = {
    cells: fact('cells', factSheets.cells).cells,
    referenceCities: reference_cities,
    regions,
    throughput: fact('throughput', factSheets.throughput).throughput,
    slas: fact('slas', factSheets.slas).slas,
    certifications: fact('certifications', factSheets.certifications).certifications,
    instanceTypes: fact('instance-types', factSheets['instance-types']).instance_types,
    quotas: fact('quotas', factSheets.quotas).quotas,
  };
  const prices: Prices = {};
  for (const provider of providerTypes) {
    const file = join(folder, 'prices', `${provider}.yaml`);
    if (existsSync(file)) prices[provider] = read(file, PriceSheet);
  }
  for (const { provider, type } of facts.cells.filter(({ served }) => served))
    for (const name of ['throughput', 'slas'] as const)
      if (!facts[name].some((row) => row.provider === provider && row.type === type))
        throw new Error(
          `${join(folder, 'facts', `${name}.yaml`)}: no row for ${type} on ${provider}, which cells.yaml says is served`,
        );
  return { facts, prices };
}

/** `folder` holds `permissions/<cloud>.json`: what each identity of the workers needs. Throws with the file's name when one is missing or wrong. */
export function loadPermissions(folder: string): Permissions {
  const sheet = (provider: string) => read(join(folder, 'permissions', `${provider}.json`), PermissionSheet);
  return { aws: sheet('aws'), azure: sheet('azure'), gcp: sheet('gcp') };
}

function read<Schema extends z.ZodType>(file: string, schema: Schema): z.infer<Schema> {
  const parsed = schema.safeParse(parse(readFileSync(file, 'utf8'), { version: '1.2', schema: 'core' }));
  if (!parsed.success) throw new Error(`${file}: ${z.prettifyError(parsed.error)}`);
  return parsed.data;
}
