/** What `deploy` would not do by itself, since it never moves, replaces or removes: the plan proposes it with the command. */
import type { Service } from './estate.ts';
import type { Candidate } from './placement.ts';

export interface Proposal {
  service: string;
  kind: 'move' | 'not allowed' | 'fewer' | 'gone' | 'retyped';
  text: string;
  /** '' where no command of this release does it. */
  command: string;
}

const migrate = (service: string, from: string, to: string): string =>
  `multi-cloud migrate ${service} --from ${from} --to ${to}`;

/** Candidates that could take over from one that is placed: of a cloud type that no other placement of the service is on. */
function successors(candidates: readonly Candidate[], from: Candidate): Candidate[] {
  const others = candidates.filter((one) => one.chosen && one !== from).map((one) => one.providerType);
  return candidates
    .filter((one) => !one.removedBy && !one.chosen && !others.includes(one.providerType))
    .sort((a, b) => (a.rank ?? 0) - (b.rank ?? 0));
}

export function proposalsFor(
  name: string,
  service: Service,
  candidates: readonly Candidate[],
  gone: readonly { provider: string; region: string }[],
): Proposal[] {
  const proposals: Proposal[] = gone.map(({ provider, region }) => ({
    service: name,
    kind: 'gone',
    text: `${name} runs on ${provider} (${region}), which the file no longer lists; put the provider back or migrate`,
    command: '',
  }));
  const existing = candidates.filter((one) => one.existing);
  for (const one of existing) {
    const [to] = successors(candidates, one);
    if (one.removedBy)
      proposals.push({
        service: name,
        kind: 'not allowed',
        text: `${name} runs on ${one.provider}, where it would not be placed today: ${one.reason}`,
        command: to ? migrate(name, one.provider, to.provider) : '',
      });
    else if (to && (to.score ?? 0) > (one.score ?? 0) + 0.00005)
      proposals.push({
        service: name,
        kind: 'move',
        text: `${to.provider} scores ${(to.score ?? 0).toFixed(4)}, better than ${one.provider} with ${(one.score ?? 0).toFixed(4)}`,
        command: migrate(name, one.provider, to.provider),
      });
  }
  const running = existing.length + gone.length;
  if (running > service.redundancy)
    proposals.push({
      service: name,
      kind: 'fewer',
      text: `${name} runs on ${running} clouds and the file asks for ${service.redundancy}; all are kept`,
      command: '',
    });
  return proposals;
}

/** For a service that runs and is not in the file any more. */
export const removedFromFile = (service: string): Proposal => ({
  service,
  kind: 'gone',
  text: `${service} runs and is no longer in the file; it is kept`,
  command: `multi-cloud remove ${service}`,
});

/** For a service that runs as one type while the file says another. */
export const typeChanged = (service: string, running: string, wanted: string): Proposal => ({
  service,
  kind: 'retyped',
  text: `${service} runs as ${running} and the file says ${wanted}, which would replace all that it has; it stays as it is`,
  command: `multi-cloud remove ${service}, then multi-cloud deploy`,
});
