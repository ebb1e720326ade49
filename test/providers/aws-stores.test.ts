/** On AWS, bytes and devices that exist nowhere else outlive an undo, and go only when asked for by name. */
import { randomBytes } from 'node:crypto';
import { setTimeout } from 'node:timers/promises';
import { AddThingToThingGroupCommand, CreateThingCommand } from '@aws-sdk/client-iot';
import { DeleteBucketCommand, DeleteObjectCommand, PutObjectCommand } from '@aws-sdk/client-s3';
import { SendMessageCommand } from '@aws-sdk/client-sqs';
import { Clients } from '../../activities/providers/aws/clients.ts';
import { awsProvider } from '../../activities/providers/aws/provider.ts';
import { Resource, scan } from '../../activities/providers/provision.ts';
import { accounts } from '../../emulators/environment.ts';
import type { Outputs, Placement, ServiceType } from '../../model/service.ts';
import { armFault } from '../local/stack.ts';

const region = 'us-west-2';
const settings = {
  name: 'aws',
  region,
  credentials: { access_key_id: 'AKIALOCALTEST', secret_access_key: 'local' },
  pollMs: 25,
  callDeadlineMs: 20_000,
};
const provider = awsProvider(settings);
const clients = new Clients(settings);
const signal = AbortSignal.timeout(120_000);
const pace = { pollMs: 25, callDeadlineMs: 20_000, heartbeat: () => {} };
const until = '2099-01-01';

afterAll(async () => {
  clients.close();
  await provider.close();
});

/** A placement whose every resource is there. */
async function provisioned(type: ServiceType) {
  const owner = {
    estate: 'stores',
    uid: randomBytes(16).toString('hex'),
    service: type,
    controller: 'test',
    generation: 1,
  };
  const placement: Placement = {
    owner,
    type,
    provider: 'aws',
    providerType: 'aws',
    region,
    account: accounts.aws,
    configuration: {},
  };
  const cell = provider.cells.find((candidate) => candidate.type === type);
  if (!cell) throw new Error(`no cell for ${type}`);
  const outputs: Record<string, Outputs> = {};
  const resources: Record<string, Resource> = {};
  for (const spec of cell.design(placement)) {
    const needs = Object.fromEntries(spec.needs.map((key) => [key, outputs[key] ?? {}]));
    const resource = new Resource(provider, cell, spec, { placement, needs, signal });
    outputs[spec.key] = (await resource.ensure(pace)).outputs;
    resources[spec.key] = resource;
  }
  const remove = async (deleteData: boolean) => {
    const outcomes: Record<string, string> = {};
    for (const [key, resource] of Object.entries(resources).toReversed())
      outcomes[key] = await resource.remove(pace, { deleteData, retainUntil: until });
    return outcomes;
  };
  return { placement, outputs, resources, remove };
}

it('a bucket that goes while it is looked at is gone, and not a stranger', async () => {
  const { outputs, resources } = await provisioned('storage');
  const bucket = outputs.bucket?.bucket ?? '';
  const host = `/^${bucket}\\.s3/`;
  const disarm = await armFault({ match: { method: 'GET', host }, effect: 'delay', delayMs: 1000 });
  const looking = resources.bucket?.observe();
  await setTimeout(300);
  await clients.s3(region).send(new DeleteBucketCommand({ Bucket: bucket }));
  expect(await looking).toBeUndefined();
  expect(await disarm()).toBeGreaterThan(1);
});

it('a bucket whose objects were all deleted still holds their versions: it is kept, listed, and deleted when asked', async () => {
  const { placement, outputs, remove } = await provisioned('storage');
  const object = { Bucket: outputs.bucket?.bucket, Key: 'only copy' };
  await clients.s3(region).send(new PutObjectCommand({ ...object, Body: 'v1' }));
  await clients.s3(region).send(new DeleteObjectCommand(object));

  expect(await remove(false)).toEqual({ bucket: 'retained' });
  expect(await scan(provider, placement, signal)).toMatchObject([{ kind: 'aws.s3.bucket', retainedUntil: until }]);

  expect(await remove(true)).toEqual({ bucket: 'removed' });
  expect(await scan(provider, placement, signal)).toEqual([]);
});

it('a registry with a device and a queue with telemetry are kept; the rest goes', async () => {
  const { placement, outputs, remove } = await provisioned('iot_core');
  const thing = { thingName: `stores-${placement.owner.uid.slice(0, 8)}` };
  const iot = clients.iot(region);
  await iot.send(new CreateThingCommand({ ...thing, thingTypeName: outputs.type?.thingType }));
  await iot.send(new AddThingToThingGroupCommand({ ...thing, thingGroupName: outputs.group?.group }));
  const message = { QueueUrl: outputs.telemetry?.url, MessageBody: '{}' };
  await clients.sqs(region).send(new SendMessageCommand(message));

  expect(await remove(false)).toEqual({
    type: 'retained',
    group: 'retained',
    policy: 'removed',
    telemetry: 'retained',
    errors: 'removed',
    role: 'removed',
    rule: 'removed',
  });
  const kept = await scan(provider, placement, signal);
  expect(kept.map(({ kind, retainedUntil }) => [kind, retainedUntil])).toEqual([
    ['aws.iot.thing-type', until],
    ['aws.iot.thing-group', until],
    ['aws.sqs.queue', until],
  ]);

  await remove(true);
  expect(await scan(provider, placement, signal)).toEqual([]);
});
