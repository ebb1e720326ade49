/** An ingest stream in on-demand mode: it sizes itself, so that the configured rate decides only whether the account's limit suffices. */
import {
  AddTagsToStreamCommand,
  CreateStreamCommand,
  DecreaseStreamRetentionPeriodCommand,
  DeleteStreamCommand,
  DescribeStreamSummaryCommand,
  IncreaseStreamRetentionPeriodCommand,
  ListStreamsCommand,
  ListTagsForStreamCommand,
  StartStreamEncryptionCommand,
} from '@aws-sdk/client-kinesis';
import { resourceName } from '../../../model/names.ts';
import type { Placement, ResourceSpec } from '../../../model/service.ts';
import type { Call, Observed, ResourceDriver } from '../driver.ts';
import type { Clients } from './clients.ts';
import { gone, ifFound, isKind } from './errors.ts';
import { allPages, desiredTags, eachOf, foundBy, fromList, ownership, tagsOf } from './tags.ts';

const streamKind = 'aws.kinesis.stream';

export const streamSpec = (placement: Placement): ResourceSpec => ({
  key: 'stream',
  kind: streamKind,
  name: resourceName(placement, { limit: 128 }),
  needs: [],
  // What it carries is on its way to the bucket and expires by itself within a day.
  holdsData: false,
  desired: { tags: desiredTags(placement), mode: 'ON_DEMAND', encryption: 'KMS', retentionHours: 24 },
});

/** The account's own key for Kinesis. */
const managedKey = 'alias/aws/kinesis';

const states: Record<string, Observed['state']> = { ACTIVE: 'ready', DELETING: 'deleting' };

export function streamDriver(clients: Clients): ResourceDriver {
  const client = ({ placement }: Pick<Call, 'placement'>) => clients.kinesis(placement.region);
  const arnOf = ({ region, account }: Placement, name: string) => `arn:aws:kinesis:${region}:${account}:stream/${name}`;

  return {
    kind: streamKind,
    // Switching is possible twice a day and changes the bill: a person's decision.
    immutable: ['mode'],

    async observe(spec, call) {
      const options = { abortSignal: call.signal };
      const StreamName = spec.name;
      const [described, tagged] = await Promise.all([
        ifFound(client(call).send(new DescribeStreamSummaryCommand({ StreamName }), options)),
        ifFound(client(call).send(new ListTagsForStreamCommand({ StreamName }), options)),
      ]);
      const summary = described?.StreamDescriptionSummary;
      if (!summary || !tagged) return undefined;
      const { tags, ...owned } = ownership(fromList(tagged.Tags), spec);
      return {
        id: summary.StreamARN ?? arnOf(call.placement, spec.name),
        ...owned,
        // UPDATING takes no second change: it counts as being created until it is over.
        state: states[summary.StreamStatus ?? ''] ?? 'creating',
        properties: {
          tags,
          mode: summary.StreamModeDetails?.StreamMode ?? 'PROVISIONED',
          encryption: summary.EncryptionType ?? 'NONE',
          retentionHours: summary.RetentionPeriodHours ?? 24,
        },
        outputs: { stream: spec.name, arn: summary.StreamARN ?? arnOf(call.placement, spec.name) },
      };
    },

    async create(spec, call) {
      await client(call).send(
        new CreateStreamCommand({
          StreamName: spec.name,
          StreamModeDetails: { StreamMode: 'ON_DEMAND' },
          Tags: tagsOf(spec),
        }),
        { abortSignal: call.signal },
      );
    },

    async update(spec, observed, drift, call) {
      const StreamName = spec.name;
      const options = { abortSignal: call.signal };
      if (drift.includes('tags'))
        await client(call).send(new AddTagsToStreamCommand({ StreamName, Tags: tagsOf(spec) }), options);
      try {
        // One change of state at a time; `ensure` comes back for the next when the stream is ACTIVE again.
        if (drift.includes('encryption')) {
          const key = { StreamName, EncryptionType: 'KMS' as const, KeyId: managedKey };
          await client(call).send(new StartStreamEncryptionCommand(key), options);
        } else if (drift.includes('retentionHours')) {
          const RetentionPeriodHours = Number(spec.desired.retentionHours);
          const period = { StreamName, RetentionPeriodHours };
          await (RetentionPeriodHours > Number(observed.properties.retentionHours)
            ? client(call).send(new IncreaseStreamRetentionPeriodCommand(period), options)
            : client(call).send(new DecreaseStreamRetentionPeriodCommand(period), options));
        }
      } catch (error) {
        // It is changing already: an earlier try of ours whose answer got lost, or somebody else. The next look tells.
        if (!isKind(error, 'AlreadyExists')) throw error;
      }
    },

    async remove(spec, _observed, call) {
      const command = new DeleteStreamCommand({ StreamName: spec.name, EnforceConsumerDeletion: true });
      await gone(client(call).send(command, { abortSignal: call.signal }));
    },

    async list({ placement, signal }) {
      const kinesis = client({ placement });
      const names = await allPages(async (NextToken) => {
        const page = await kinesis.send(new ListStreamsCommand({ NextToken }), { abortSignal: signal });
        return { items: page.StreamNames ?? [], next: page.NextToken };
      });
      const ours = names.filter((name) => name.startsWith(placement.owner.estate));
      return eachOf(ours, async (StreamName) => {
        const tagged = await ifFound(
          kinesis.send(new ListTagsForStreamCommand({ StreamName }), { abortSignal: signal }),
        );
        return foundBy(placement, streamKind, StreamName, arnOf(placement, StreamName), fromList(tagged?.Tags));
      });
    },
  };
}
