/** Structured logs, one JSON line each, in the shape that Cloud Logging reads (`severity`, `message`). Never a payload, a key or a token. */

export type Severity = 'INFO' | 'WARNING' | 'ERROR';

export function log(severity: Severity, message: string, fields: Record<string, string | number | boolean> = {}): void {
  process.stdout.write(`${JSON.stringify({ time: new Date().toISOString(), severity, message, ...fields })}\n`);
}

/** What may be told of an error: its class and code. Messages of SDKs can hold URLs and headers. */
export function reason(error: unknown): string {
  if (!(error instanceof Error)) return 'unknown';
  const code = 'code' in error && (typeof error.code === 'string' || typeof error.code === 'number') ? error.code : '';
  return `${error.name} ${code}`.trim();
}
