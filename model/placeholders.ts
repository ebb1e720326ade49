/** `${NAME}` in secret fields: the only way a secret enters an estate file. It is resolved inside an activity, never before. */

/** Names that may be used unless the worker's settings say otherwise: those of the first estate file ever written. */
export const defaultAllowedNames: readonly string[] = [
  'AWS_ACCESS_KEY_ID',
  'AWS_SECRET_ACCESS_KEY',
  'AZURE_TENANT_ID',
  'AZURE_CLIENT_ID',
  'AZURE_CLIENT_SECRET',
  'GCP_PROJECT_ID',
  'GCP_KEY_FILE',
  'SLACK_WEBHOOK_URL',
];

const whole = /^\$\{([A-Za-z_][A-Za-z0-9_]*)\}$/;

/** The name in a value that is a placeholder and nothing else. */
export const placeholderName = (value: string): string | undefined => whole.exec(value)?.[1];

/** Fields whose value is a secret: `credentials.*` of a provider, `webhook` of a channel. */
export const isSecretPath = (path: readonly PropertyKey[]): boolean =>
  path.includes('credentials') || path.at(-1) === 'webhook';
