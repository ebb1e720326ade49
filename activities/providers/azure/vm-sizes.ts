/**
 * The nearest size by the AWS name that the estate file uses: at least as many vCPUs and as much memory, with Trusted Launch
 * and encryption at host. The same as in `config/facts/instance-types.yaml`, which prices use; a test compares them.
 * https://learn.microsoft.com/azure/virtual-machines/sizes/overview (2026-11-24)
 */
const sizes: Readonly<Record<string, string>> = {
  't3.micro': 'Standard_B2ts_v2',
  't3.small': 'Standard_B2ls_v2',
  't3.medium': 'Standard_B2ls_v2',
  't3.large': 'Standard_B2s_v2',
  't3.xlarge': 'Standard_B4s_v2',
  't3.2xlarge': 'Standard_B8s_v2',
  'm5.large': 'Standard_D2s_v5',
  'm5.xlarge': 'Standard_D4s_v5',
  'm5.2xlarge': 'Standard_D8s_v5',
  'm5.4xlarge': 'Standard_D16s_v5',
};

/** Undefined for a type that the table does not have; the preflight refuses those. */
export const vmSize = (instanceType: string): string | undefined => sizes[instanceType];

/** The number in a size's name: https://learn.microsoft.com/azure/virtual-machines/vm-naming-conventions (2026-11). */
export const vcpusOf = (size: string): number => Number(/^Standard_[A-Z]+(\d+)/.exec(size)?.[1] ?? 0);

/** Quota of the vCPUs of a size's family, as `az vm list-usage` names it (2026-11); it is written in either case. */
export const familyOf = (size: string): string =>
  size.startsWith('Standard_B') ? 'standardBsv2Family' : 'standardDSv5Family';
