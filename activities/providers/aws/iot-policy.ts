/** What a device may do: be itself, send its telemetry, receive its commands, keep its shadow. */
import {
  CreatePolicyCommand,
  CreatePolicyVersionCommand,
  DeletePolicyCommand,
  DeletePolicyVersionCommand,
  DetachPolicyCommand,
  GetPolicyCommand,
  ListPoliciesCommand,
  ListPolicyVersionsCommand,
  ListTargetsForPolicyCommand,
} from '@aws-sdk/client-iot';
import { resourceName } from '../../../model/names.ts';
import type { Json, Placement, ResourceSpec } from '../../../model/service.ts';
import type { Call, ResourceDriver } from '../driver.ts';
import type { Clients } from './clients.ts';
import { gone, ifFound } from './errors.ts';
import { topicOf } from './iot-device.ts';
import { iotArn, iotDriver } from './iot-resource.ts';
import { desiredTags } from './tags.ts';

/** IoT replaces it with the name of the thing that the connection's certificate is attached to. */
const self = `\${iot:Connection.Thing.ThingName}`;

export function policySpec(placement: Placement): ResourceSpec {
  const arn = (what: string): string => iotArn(placement, what);
  const shadow = `$aws/things/${self}/shadow/*`;
  const commands = topicOf(placement, 'cmd', self, '*');
  return {
    key: 'policy',
    kind: 'aws.iot.policy',
    name: resourceName(placement, { limit: 128 }),
    needs: [],
    // Devices are attached to it: without it they are cut off.
    holdsData: true,
    desired: {
      tags: desiredTags(placement),
      document: {
        Version: '2012-10-17',
        Statement: [
          { Effect: 'Allow', Action: ['iot:Connect'], Resource: [arn(`client/${self}`)] },
          {
            Effect: 'Allow',
            Action: ['iot:Publish'],
            Resource: [arn(`topic/${topicOf(placement, 'dt', self, 'telemetry')}`), arn(`topic/${shadow}`)],
          },
          {
            Effect: 'Allow',
            Action: ['iot:Subscribe'],
            Resource: [arn(`topicfilter/${commands}`), arn(`topicfilter/${shadow}`)],
          },
          {
            Effect: 'Allow',
            Action: ['iot:Receive'],
            Resource: [arn(`topic/${commands}`), arn(`topic/${shadow}`)],
          },
        ],
      },
    },
  };
}

export function policyDriver(clients: Clients): ResourceDriver {
  const client = ({ placement }: Pick<Call, 'placement'>) => clients.iot(placement.region);
  const targets = async (spec: ResourceSpec, call: Call, pageSize: number): Promise<string[]> => {
    const command = new ListTargetsForPolicyCommand({ policyName: spec.name, pageSize });
    return (await ifFound(client(call).send(command, { abortSignal: call.signal })))?.targets ?? [];
  };
  const oldVersions = async (policyName: string, call: Call): Promise<string[]> => {
    const command = new ListPolicyVersionsCommand({ policyName });
    const found = await ifFound(client(call).send(command, { abortSignal: call.signal }));
    return (found?.policyVersions ?? []).flatMap(({ versionId, isDefaultVersion }) =>
      isDefaultVersion || !versionId ? [] : [versionId],
    );
  };
  const dropVersions = async (policyName: string, call: Call): Promise<void> => {
    for (const policyVersionId of await oldVersions(policyName, call)) {
      const command = new DeletePolicyVersionCommand({ policyName, policyVersionId });
      await gone(client(call).send(command, { abortSignal: call.signal }));
    }
  };
  return iotDriver(clients, {
    kind: 'aws.iot.policy',
    arnOf: ({ name }, placement) => iotArn(placement, `policy/${name}`),
    async read(spec, call) {
      const command = new GetPolicyCommand({ policyName: spec.name });
      const found = await ifFound(client(call).send(command, { abortSignal: call.signal }));
      if (!found) return undefined;
      const document: Json = JSON.parse(found.policyDocument ?? '{}');
      return { properties: { document }, outputs: { policy: spec.name } };
    },
    async create(spec, call, tags) {
      const policyDocument = JSON.stringify(spec.desired.document);
      const command = new CreatePolicyCommand({ policyName: spec.name, policyDocument, tags });
      await client(call).send(command, { abortSignal: call.signal });
    },
    async update(spec, drift, call) {
      if (!drift.includes('document')) return;
      // Five versions at most: the older ones make room.
      await dropVersions(spec.name, call);
      const policyDocument = JSON.stringify(spec.desired.document);
      const command = new CreatePolicyVersionCommand({ policyName: spec.name, policyDocument, setAsDefault: true });
      await client(call).send(command, { abortSignal: call.signal });
    },
    async remove(spec, call) {
      await dropVersions(spec.name, call);
      const command = new DeletePolicyCommand({ policyName: spec.name });
      await gone(client(call).send(command, { abortSignal: call.signal }));
    },
    async page(call, marker) {
      const page = await client(call).send(new ListPoliciesCommand({ marker }), { abortSignal: call.signal });
      const items = (page.policies ?? [])
        .filter(({ policyName }) => policyName?.startsWith(call.placement.owner.estate))
        .map(({ policyName = '', policyArn = '' }) => ({ name: policyName, arn: policyArn }));
      return { items, next: page.nextMarker };
    },
    store: {
      isEmpty: async (spec, call) => (await targets(spec, call, 1)).length === 0,
      async empty(spec, call) {
        const found = await targets(spec, call, 50);
        for (const target of found) {
          const command = new DetachPolicyCommand({ policyName: spec.name, target });
          await gone(client(call).send(command, { abortSignal: call.signal }));
        }
        return found.length === 0;
      },
    },
  });
}
