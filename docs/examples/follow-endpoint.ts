/**
 * A program that goes where a service is: `node docs/examples/follow-endpoint.ts SERVICE ZONE [NAME-SERVER …]`.
 * Prints each address with the time it was told; against the local clouds with the name server that `npm start` prints.
 */
import { followEndpoint } from '../../client/endpoint.ts';

const [service, zone, ...servers] = process.argv.slice(2);
if (!service || !zone) {
  process.stderr.write('usage: follow-endpoint SERVICE ZONE [NAME-SERVER …]\n');
  process.exit(2);
}
followEndpoint({
  service,
  zone,
  ...(servers.length > 0 && { servers }),
  onChange: ({ endpoints, ttlSeconds }) => {
    for (const { provider, region, url } of endpoints)
      process.stdout.write(
        `${new Date().toISOString()} ${service}: ${url} (${provider} in ${region}, for ${ttlSeconds} s)\n`,
      );
  },
  onError: ({ message }) => process.stderr.write(`${new Date().toISOString()} ${service}: ${message}\n`),
});
