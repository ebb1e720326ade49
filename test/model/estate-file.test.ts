import { checkEstate, mergeInput, otherSections, sectionsThatDiffer } from '../../model/estate-check.ts';
import { parseEstateFile } from '../../model/estate-file.ts';
import { broken } from './broken-files.ts';
import { fileOf, textOf } from './estates.ts';

const seed = textOf('test/fixtures/seed.yaml');
const errorsOf = (text: string) => {
  const result = parseEstateFile(text);
  return result.ok ? [] : result.errors;
};

test("the seed's own file loads unchanged; its recipient is a warning", () => {
  const result = parseEstateFile(seed);
  expect(result.ok && Object.keys(result.estate.services)).toEqual(['iot_core', 'data_lake', 'compute']);
  expect(result.warnings.map(({ path, line }) => [path, line])).toContainEqual([
    'monitoring.alert_channels[1].recipients[0]',
    73,
  ]);
});

test('the sample loads without a warning, and checking it again changes nothing', () => {
  const result = parseEstateFile(textOf('config/multi-cloud.yaml'));
  if (!result.ok) throw new Error('the sample is wrong');
  expect(result.warnings).toEqual([]);
  expect(checkEstate(result.estate)).toEqual({ ok: true, estate: result.estate, warnings: [] });
  expect(JSON.parse(JSON.stringify(result.estate))).toEqual(result.estate);
});

describe('a broken file names path, line, value and what is allowed', () => {
  test.each(broken)('$name', ({ change: [from, to], path, line, found, allowed }) => {
    const text = seed.includes(`\n${from}`) ? seed.replace(`\n${from}`, () => `\n${to}`) : seed.replace(from, () => to);
    expect(text).not.toBe(seed);
    const errors = errorsOf(text);
    expect(errors).toContainEqual(
      expect.objectContaining({
        path,
        line,
        found: expect.stringContaining(found),
        allowed: expect.stringContaining(allowed),
      }),
    );
    const [error] = errors.filter((one) => one.path === path);
    expect(error?.message).toBe(`${path} (line ${line}): found ${error?.found}; allowed: ${error?.allowed}`);
    expect(JSON.stringify(errors)).not.toContain('wJalrXUtnFEMIsecret');
  });
});

test('every mistake is named at once, in the order of the file', () => {
  const text = seed
    .replace('region: "us-west-2"', 'regoin: "us-west-2"')
    .replace('priority: 2', 'priority: 0')
    .replace('["aws", "gcp"]', '["aws", "ibm"]')
    .replace('alert_threshold: 0.8', 'alert_threshold: 80');
  expect(errorsOf(text).map(({ path }) => path)).toEqual([
    'providers[0].region',
    'providers[0].regoin',
    'providers[1].priority',
    'services.compute.preferred_providers[1]',
    'cost.alert_threshold',
  ]);
});

describe('a hostile file is refused', () => {
  const laughs = [
    'a0: &a0 [x]',
    ...Array.from({ length: 9 }, (_, i) => `a${i + 1}: &a${i + 1} [${`*a${i},`.repeat(9)}]`),
  ];
  test.each([
    ['larger than 1 MiB', `# ${'x'.repeat(1024 * 1024)}`, '1048578 bytes'],
    ['nested too deep', '['.repeat(100_000), 'deeper nesting'],
    [
      'nested too deep by indentation',
      Array.from({ length: 80 }, (_, i) => `${' '.repeat(i)}a:`).join('\n'),
      'deeper nesting',
    ],
    ['aliases of aliases', laughs.join('\n'), 'aliases that expand too far'],
    ['more than 100 aliases', `a: &a 1\nb: [${'*a,'.repeat(101)}]`, 'more than 100 aliases'],
    ['an alias of what it stands in', 'a: &a [*a]', 'an alias of what it stands in'],
    ['a second document', `${seed}\n---\nname: other`, 'a second document'],
    ['a number as a key', '1: 2', 'a key that is not text'],
  ])('%s', (_, text, found) => {
    expect(errorsOf(text).map((error) => error.found)).toContainEqual(expect.stringContaining(found));
  });
});

describe("a workflow's input", () => {
  const own = fileOf('config/multi-cloud.yaml');

  test('may carry services, placement and cost, each as a whole', () => {
    const merged = mergeInput(own, { services: { firmware: { type: 'storage' } }, cost: { budget: 5, enforce: true } });
    if (!merged.ok) throw new Error(merged.errors.map(({ message }) => message).join());
    expect(Object.keys(merged.estate.services)).toEqual(['firmware']);
    expect(merged.estate.cost).toMatchObject({ budget: 5, enforce: true });
    expect(merged.estate.placement).toEqual(own.placement);
    expect(sectionsThatDiffer(own, otherSections(merged.estate))).toEqual([]);
  });

  test('may carry nothing else, and is checked against the providers of the worker', () => {
    const merged = mergeInput(own, {
      providers: [],
      services: { firmware: { type: 'storage', preferred_providers: ['evil'] } },
    });
    expect(!merged.ok && merged.errors.map(({ message }) => message)).toEqual([
      'providers: found the section "providers" in an input; allowed: services, placement, cost; all else comes from the worker\'s own file',
      'services.firmware.preferred_providers[0]: found "evil"; allowed: aws, azure, gcp',
    ]);
  });

  test('is compared with the worker by section', () => {
    const moved = { ...own, compliance: { ...own.compliance, required_certifications: [] } };
    expect(sectionsThatDiffer(own, otherSections(moved))).toEqual(['compliance']);
  });
});
