/** Machine types by the AWS name that the estate file uses, from the same dated sheet that prices are estimated with. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parse } from 'yaml';
import type { z } from 'zod';
import { ComputeConfiguration } from '../../../model/configuration.ts';
import { CloudError } from '../../../model/errors.ts';
import { factSheets } from '../../../model/facts.ts';

const file = join(import.meta.dirname, '../../../config/facts/instance-types.yaml');
let sheet: z.infer<(typeof factSheets)['instance-types']>['instance_types'] | undefined;
const rows = () => {
  sheet ??= factSheets['instance-types'].parse(parse(readFileSync(file, 'utf8'))).instance_types;
  return sheet;
};

/** The nearest machine type with at least as many vCPUs and as much memory. */
export function machineType(awsName: unknown): string {
  const name = ComputeConfiguration.shape.instance_type.parse(awsName);
  const found = rows().find((row) => row.name === name)?.sizes.gcp;
  if (found === undefined)
    throw new CloudError(
      { kind: 'NotSupported', provider: 'gcp', operation: 'choose a machine type', resource: name },
      `config/facts/instance-types.yaml names no machine type for it; it knows ${rows()
        .map((row) => row.name)
        .join(', ')}`,
    );
  return found;
}

/** Of a machine type that the sheet names. */
export const vcpusOf = (machineType: string): number =>
  rows().find(({ sizes }) => sizes.gcp === machineType)?.vcpu ?? 0;
