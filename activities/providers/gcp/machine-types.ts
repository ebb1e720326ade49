/** Machine types by the AWS name that the estate file uses, and how many devices one carries. */

/**
 * The nearest E2 shape: at least as many vCPUs and as much memory. Both vendors' lists, read 2026-11:
 * https://aws.amazon.com/ec2/instance-types/, https://cloud.google.com/compute/docs/general-purpose-machines#e2_machine_types.
 */
const shapes: Record<string, string> = {
  micro: 'e2-micro',
  small: 'e2-small',
  medium: 'e2-medium',
  large: 'e2-standard-2',
  xlarge: 'e2-standard-4',
  '2xlarge': 'e2-standard-8',
  '4xlarge': 'e2-standard-16',
  '8xlarge': 'e2-standard-32',
};

/** An unknown size gets the shape of `t3.medium`, the default of the estate file. */
export function machineType(awsName: unknown): string {
  const size = typeof awsName === 'string' ? awsName.split('.')[1] : undefined;
  return shapes[size ?? 'medium'] ?? 'e2-medium';
}
