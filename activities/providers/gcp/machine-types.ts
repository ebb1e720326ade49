/** Machine types by the AWS name that the estate file uses, from the same dated sheet that prices are estimated with. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parse } from 'yaml';
import { ComputeConfiguration } from '../../../model/configuration.ts';
import { CloudError } from '../../../model/errors.ts';
import { factSheets } from '../../../model/facts.ts';

const sheet = join(import.meta.dirname, '../../../config/facts/instance-types.yaml');
let known: Map<string, string | undefined> | undefined;

/** The nearest machine type with at least as many vCPUs and as much memory. */
export function machineType(awsName: unknown): string {
  known ??= new Map(
    factSheets['instance-types']
      .parse(parse(readFileSync(sheet, 'utf8')))
      .instance_types.map(({ name, sizes }) => [name, sizes.gcp]),
  );
  const name = ComputeConfiguration.shape.instance_type.parse(awsName);
  const found = known.get(name);
  if (found === undefined)
    throw new CloudError(
      { kind: 'NotSupported', provider: 'gcp', operation: 'choose a machine type', resource: name },
      `config/facts/instance-types.yaml names no machine type for it; it knows ${[...known.keys()].join(', ')}`,
    );
  return found;
}
