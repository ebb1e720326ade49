/** Who may let newborns in, and where: an authority's certificate alone, on clouds that can; and which doors are to be shut. */
import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createEstateActivities } from '../../activities/estate/load.ts';
import { authority, issueCertificate } from '../../emulators/certificates.ts';
import { IotCoreConfiguration } from '../../model/configuration.ts';
import { authorityMark, justInTimeKey, shutDoors } from '../../model/just-in-time.ts';
import { placeService } from '../../model/placement.ts';
import { clouds, estateOf, sheets } from './estates.ts';

const factory = await authority(mkdtempSync(join(tmpdir(), 'factory-')));
const asking = (pem: string, more: object = {}) => ({
  services: { iot_core: { type: 'iot_core', ...more, configuration: { just_in_time_authority: pem } } },
});

it('is one certificate and nothing beside it: no key gets into a record', () => {
  const parse = (text: string): boolean => IotCoreConfiguration.safeParse({ just_in_time_authority: text }).success;
  expect([factory.cert, `${factory.cert}\n`].map(parse)).toEqual([true, true]);
  for (const text of [
    '',
    factory.key,
    factory.cert + factory.key,
    `${factory.key}\n${factory.cert}`,
    `${factory.cert}\n${factory.cert}`,
  ])
    expect(parse(text)).toBe(false);
});

it('is refused by the worker where it is no authority, with the field', async () => {
  const waits = { callDeadlineMs: 1, settleMs: 1, blockedMs: 1, followMs: 1, fenceMs: 1 };
  const load = (pem: string) => {
    const file = join(mkdtempSync(join(tmpdir(), 'estate-')), 'estate.json');
    writeFileSync(file, JSON.stringify({ name: 'one', providers: clouds, ...asking(pem) }));
    return createEstateActivities({ estateFile: file, waits }).loadEstate({});
  };
  await expect(load(factory.cert)).resolves.toMatchObject({ estate: { name: 'one' } });
  const device = await issueCertificate(factory, ['device'], true);
  const malformed = '-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----';
  for (const pem of [device.cert, malformed])
    await expect(load(pem)).rejects.toThrow(/just_in_time_authority: this is not the certificate of an authority/);
});

it('removes Azure from the candidates, with the reason', () => {
  const placed = (more: object) => placeService(estateOf(asking(factory.cert, more)), 'iot_core', sheets);
  const { candidates } = placed({});
  expect(candidates.filter(({ removedBy }) => removedBy).map(({ provider }) => provider)).toEqual(['azure']);
  expect(placed({ preferred_providers: ['azure'] }).error).toMatchObject({
    type: 'Unplaceable',
    message: expect.stringContaining(
      'azure removed by supported: just_in_time_authority needs a Device Provisioning Service',
    ),
  });
});

it('shuts doors of an authority that is no longer named, and nothing else', () => {
  const part = (key: string) => ({ key, kind: 'k', name: key, id: '', needs: [], holdsData: false, outputs: {} });
  const spec = (key: string) => ({ key, kind: 'k', name: key, needs: [], holdsData: false, desired: {} });
  const [door, next] = ['one', 'two'].map((pem) => `${justInTimeKey}-${authorityMark(pem)}`) as [string, string];
  const before = [part('group'), part('scaling'), part('just-in-time-role'), part(door)];
  const shut = (...keys: string[]) => shutDoors(before, keys.map(spec)).map(({ key }) => key);
  expect(shut('group', 'just-in-time-role', door)).toEqual([]);
  expect(shut('group', 'just-in-time-role', next)).toEqual([door]);
  expect(shut('group')).toEqual(['just-in-time-role', door]);
});
