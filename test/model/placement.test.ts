import { costOfEstate } from '../../model/estate-cost.ts';
import { placeService } from '../../model/placement.ts';
import type { Sheets } from '../../model/sheets.ts';
import { clouds, estateOf, fileOf, sheets } from './estates.ts';

/** Fourth decimal of a score, as `plan` prints it. */
const at = (candidates: ReturnType<typeof placeService>['candidates'], provider: string) => {
  const found = candidates.find((one) => one.provider === provider);
  return { usd: found?.monthlyUsd, score: found?.score?.toFixed(4), rank: found?.rank, reason: found?.reason };
};
const placed = (placement: ReturnType<typeof placeService>) =>
  placement.placements.map(({ provider, region }) => `${provider}/${region}`);
const storage = { type: 'storage', configuration: { storage_size_tb: 1 } };

describe('scores and costs agree with a calculation by hand', () => {
  test('residency leaves one cloud', () => {
    const estate = estateOf({
      compliance: { data_residency: { ireland: ['eu-west-1'] } },
      services: { archive: { type: 'storage', data_residency: 'eu-west-1', configuration: { storage_size_tb: 2 } } },
    });
    const result = placeService(estate, 'archive', sheets);
    expect(placed(result)).toEqual(['aws/eu-west-1']);
    // 2 TB = 2048 GB x 0.023 = 47.104. Cost 1 - 0.00471 = 0.99529; performance ((1 - 0.026) + 1)/2 = 0.987.
    // 0.3 x 0.99529 + 0.25 x 0.987 + 0.25 x 1 + 0.2 x 0.999 = 0.298587 + 0.24675 + 0.25 + 0.1998 = 0.995137
    expect(at(result.candidates, 'aws')).toMatchObject({ usd: 47.1, score: '0.9951', rank: 1 });
    expect(at(result.candidates, 'azure').reason).toBe('residency: it has no region in zone ireland (eu-west-1)');
    expect(at(result.candidates, 'gcp').rank).toBeUndefined();
  });

  test('a tie goes to the smaller priority, then to the name', () => {
    const twin = clouds.map(({ name, priority, ...rest }) => ({ ...rest, name, priority: 7 }));
    const services = { firmware: storage };
    const alike = alikeSheets();
    expect(placed(placeService(estateOf({ services }), 'firmware', alike))).toEqual(['aws/us-west-2']);
    expect(placed(placeService(estateOf({ services, providers: twin }), 'firmware', alike))).toEqual(['aws/us-west-2']);
    const last = twin.map((one) => (one.name === 'gcp' ? { ...one, priority: 6 } : one));
    const result = placeService(estateOf({ services, providers: last }), 'firmware', alike);
    expect(placed(result)).toEqual(['gcp/us-central1']);
    // 1024 x 0.023 = 23.552. 0.3 x 0.997645 + 0.25 x ((1 - 0.01) + 1)/2 + 0.25 + 0.2 x 0.999 = 0.9978435
    for (const { name } of clouds) expect(at(result.candidates, name)).toMatchObject({ usd: 23.55, score: '0.9978' });
  });

  test('weights 1/0/0/0 take the cheapest', () => {
    const weights = { cost: 1, performance: 0, compliance: 0, reliability: 0 };
    const result = placeService(
      estateOf({ placement: { weights }, services: { firmware: storage } }),
      'firmware',
      sheets,
    );
    expect(placed(result)).toEqual(['gcp/us-central1']);
    // GCP 1024 x 0.020 = 20.48 -> 0.997952; AWS 1024 x 0.023 = 23.552 -> 23.55 -> 0.997645
    expect(at(result.candidates, 'gcp')).toMatchObject({ usd: 20.48, score: '0.9980', rank: 1 });
    expect(at(result.candidates, 'aws')).toMatchObject({ usd: 23.55, score: '0.9976', rank: 2 });
  });

  test('redundancy 4 is Unplaceable and says what is left', () => {
    const estate = estateOf({
      providers: [...clouds, { name: 'aws-spare', type: 'aws', region: 'eu-west-1', enabled: false }],
      services: {
        compute: { type: 'compute', redundancy: 4, configuration: { instance_type: 't3.large', instance_count: 10 } },
      },
    });
    const result = placeService(estate, 'compute', sheets);
    expect(result.error?.type).toBe('Unplaceable');
    expect(result.error?.message).toContain('needs 4 clouds of different types; only 3 of different types');
    expect(result.error?.message).toContain('aws-spare removed by enabled');
    // AWS 7300 h x 0.0832 = 607.36, disks 10 x 30 x 0.08 = 24, addresses 7300 x 0.005 = 36.50: 667.86.
    // 0.3 x 0.933214 + 0.25 x 0.989 + 0.25 + 0.2 x 0.9999 = 0.9771942
    expect(at(result.candidates, 'aws')).toMatchObject({ usd: 667.86, score: '0.9772' });
    // GCP 7300 x 0.06701142 = 489.18, disks 10 x 20 x 0.10 = 20, NAT 7300 x 0.0014 = 10.22 and its address 730 x 0.005 = 3.65: 523.05.
    // 0.3 x 0.947695 + 0.25 x 0.979 + 0.25 + 0.2 x 0.9999 = 0.9790385
    expect(at(result.candidates, 'gcp')).toMatchObject({ usd: 523.05, score: '0.9790' });
  });

  test('a type that a cloud lacks removes that cloud; a type that all lack is NotSupported', () => {
    const services = {
      core: { type: 'iot_core', redundancy: 3, configuration: { device_count: 10_000, message_rate: 100 } },
    };
    const lacking: Sheets = {
      ...sheets,
      facts: {
        ...sheets.facts,
        cells: sheets.facts.cells.map((cell) =>
          cell.provider === 'gcp' && cell.type === 'iot_core'
            ? { ...cell, served: false, reason: 'retired on 16 August 2023' }
            : cell,
        ),
      },
    };
    const result = placeService(estateOf({ services }), 'core', lacking);
    expect(result.error).toEqual({
      type: 'Unplaceable',
      message:
        'core (iot_core) needs 3 clouds of different types; only 2 of different types can be had (aws, azure): gcp removed by supported: retired on 16 August 2023',
    });
    // AWS: 438 x 0.08 + 262.8 x (1 + 0.15 + 0.15) + 262.8 x 0.4 x 1.2 = 35.04 + 262.80 + 39.42 + 39.42 + 126.14 = 502.82
    // 0.3 x 0.949718 + 0.25 x ((1 - 0.022) + 0.16)/2 + 0.25 + 0.2 x 0.999 = 0.2849154 + 0.14225 + 0.25 + 0.1998 = 0.8769654
    expect(at(result.candidates, 'aws')).toMatchObject({ usd: 502.82, score: '0.8770' });
    // Azure: 8.64 million messages a day are 22 S1 (550) or 2 S2 (500); + 1 unit 21.90 + 262.8 x 0.028 = 7.36
    expect(at(result.candidates, 'azure')).toMatchObject({ usd: 529.26, score: '0.9809' });

    const database = placeService(estateOf({ services: { db: { type: 'database' } } }), 'db', sheets);
    expect(database.error?.type).toBe('NotSupported');
    expect(database.error?.message).toContain('database is not served yet');
  });

  test('the sample estate', () => {
    const estate = fileOf('config/multi-cloud.yaml');
    const all = Object.keys(estate.services).map((name) => placeService(estate, name, sheets));
    expect(
      Object.fromEntries(all.map((one) => [one.service, one.placements.map(({ provider }) => provider).sort()])),
    ).toEqual({
      iot_core: ['aws', 'azure'],
      data_lake: ['aws', 'azure', 'gcp'],
      compute: ['aws', 'gcp'],
      firmware: ['aws'],
      telemetry_archive: ['aws'],
    });
    const cost = costOfEstate(estate, all, sheets);
    // GCP's lake: 2048 + 1.28 + 2 x 597.54, and 16425 GB x 7 days of 30.417 = 3780 GB = 3520.40 GiB x 0.27 = 950.51 in its topic: 4194.87
    // 502.82 + 529.26 + 4305.48 + 3193.91 + 4194.87 + 667.86 + 523.05 + 2.36 + 166.68
    expect(cost.runningUsd).toBe(14086.29);
    // Each cloud sends 16425/3 x 2 = 10950 GB: 10240 x 0.09 + 710 x 0.085; 10240 x 0.087 + 710 x 0.083; 1024 x 0.12 + 9216 x 0.11 + 710 x 0.08
    expect(cost.replication.map(({ provider, monthlyUsd }) => [provider, monthlyUsd]).sort()).toEqual([
      ['aws', 981.95],
      ['azure', 949.81],
      ['gcp', 1193.44],
    ]);
    expect(cost.monthlyUsd).toBe(17211.49);
    expect(cost.budget?.state).toBe('over');
    expect(cost.oneTimeUsd).toBe(0);
  });
});

describe('what already runs', () => {
  const estate = estateOf({ services: { firmware: storage } });

  test('stays, and a better place is proposed with its command', () => {
    const result = placeService(estate, 'firmware', sheets, [{ provider: 'gcp', region: 'us-central1' }]);
    expect(placed(result)).toEqual(['gcp/us-central1']);
    expect(result.proposals).toMatchObject([
      { kind: 'move', command: 'multi-cloud migrate firmware --from gcp --to aws' },
    ]);
  });

  test('stays where it runs when the provider moved to another region', () => {
    const result = placeService(estate, 'firmware', sheets, [{ provider: 'aws', region: 'eu-west-1' }]);
    expect(placed(result)).toEqual(['aws/eu-west-1']);
  });

  test('stays where it would not be placed today, and that is said', () => {
    const choosy = estateOf({ services: { firmware: { ...storage, preferred_providers: ['aws'] } } });
    const result = placeService(choosy, 'firmware', sheets, [{ provider: 'gcp', region: 'us-central1' }]);
    expect(placed(result)).toEqual(['gcp/us-central1']);
    expect(result.proposals).toMatchObject([
      { kind: 'not allowed', command: 'multi-cloud migrate firmware --from gcp --to aws' },
    ]);
  });

  test('is not reduced with the redundancy', () => {
    const existing = clouds.map(({ name, region }) => ({ provider: name, region }));
    const result = placeService(estate, 'firmware', sheets, existing);
    expect(result.placements).toHaveLength(3);
    expect(result.proposals).toMatchObject([{ kind: 'fewer' }]);
  });

  test('is added to when the redundancy grows', () => {
    const two = estateOf({ services: { firmware: { ...storage, redundancy: 2 } } });
    const result = placeService(two, 'firmware', sheets, [{ provider: 'gcp', region: 'us-central1' }]);
    expect(result.placements.map(({ provider, existing }) => [provider, existing])).toEqual([
      ['gcp', true],
      ['aws', false],
    ]);
  });
});

describe('filters', () => {
  test('a required certification that a cloud lacks cannot be outvoted', () => {
    const estate = estateOf({
      compliance: { required_certifications: ['ISO 27001', 'C5'] },
      services: { firmware: storage },
    });
    const result = placeService(estate, 'firmware', sheets);
    expect(result.error?.message).toContain('aws removed by certifications: it does not hold C5');
    expect(at(result.candidates, 'aws').score).toBeDefined();
  });

  test("the provider's own region is taken if it lies in the zone, else the zone's first that it has", () => {
    const zones = { eu: ['westeurope', 'eu-west-1', 'europe-west1'] };
    const estate = estateOf({
      providers: clouds.map((one) => (one.name === 'gcp' ? { ...one, region: 'europe-west1' } : one)),
      compliance: { data_residency: zones },
      services: { lake: { type: 'data_lake', redundancy: 3, data_residency: 'eu' } },
    });
    expect(placed(placeService(estate, 'lake', sheets)).sort()).toEqual([
      'aws/eu-west-1',
      'azure/westeurope',
      'gcp/europe-west1',
    ]);
  });

  test('an unknown instance type leaves no cloud and says so', () => {
    const estate = estateOf({ services: { c: { type: 'compute', configuration: { instance_type: 'x9.huge' } } } });
    expect(placeService(estate, 'c', sheets).error?.message).toContain('no size for x9.huge');
  });
});

/** Sheets in which the three clouds differ in name only. */
function alikeSheets(): Sheets {
  const { facts, prices } = sheets;
  return {
    facts: { ...facts, regions: facts.regions.map((row) => ({ ...row, latency_ms: 10 })) },
    prices: Object.fromEntries(
      Object.entries(prices).map(([type, sheet]) => [
        type,
        {
          ...sheet,
          rows: sheet.rows.map((row) => (row.quantity === 'stored_gb' ? { ...row, usd: { us: 0.023 } } : row)),
        },
      ]),
    ),
  };
}
