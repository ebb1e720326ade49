/** Checks a value that should be an estate: schema, configurations by type, rules between fields. All problems at once. */
import { z } from 'zod';
import { configurations } from './configuration.ts';
import { Estate, type EstateInput, type EstateResult, type FileError, inputSections, type Warning } from './estate.ts';
import { type Problem, pathText, schemaProblems, shown, valueAt } from './estate-problems.ts';
import { ruleProblems } from './estate-rules.ts';
import { isSecretPath } from './placeholders.ts';
import { type ServiceType, serviceTypes } from './service.ts';
import { canonical, sha256Hex } from './sha256.ts';

export interface CheckOptions {
  /** Names that `${NAME}` may refer to. Default: `defaultAllowedNames`. */
  allowedNames?: readonly string[] | undefined;
  /** Line of a path in the text that the value came from. */
  lineOf?: ((path: readonly PropertyKey[], atKey: boolean) => number | undefined) | undefined;
}

const Mapping = z.record(z.string(), z.json());
const isServiceType = (type: unknown): type is ServiceType => serviceTypes.some((one) => one === type);
const isMapping = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

function configurationProblems(file: unknown): Problem[] {
  const services = valueAt(file, ['services']);
  if (!isMapping(services)) return [];
  return Object.entries(services).flatMap(([name, service]) => {
    const type = valueAt(service, ['type']);
    const configuration = valueAt(service, ['configuration']);
    if (!isServiceType(type) || !isMapping(configuration)) return [];
    return schemaProblems(configurations[type], configuration, ['services', name, 'configuration']).map((problem) =>
      problem.path.at(-1) === 'data_residency'
        ? { ...problem, allowed: `data_residency one level up, beside type; here: ${problem.allowed}` }
        : problem,
    );
  });
}

/** The same place is reported once; a rule about a secret says more than its schema. */
function distinct(problems: readonly Problem[]): Problem[] {
  const byPath = new Map<string, Problem>();
  for (const problem of problems) {
    const key = pathText(problem.path);
    if (!byPath.has(key) || isSecretPath(problem.path)) byPath.set(key, problem);
  }
  return [...byPath.values()];
}

export function fileError(problem: Problem, lineOf: CheckOptions['lineOf']): FileError {
  const path = pathText(problem.path);
  const line = lineOf?.(problem.path, problem.atKey ?? false);
  const { found, allowed } = problem;
  return {
    path,
    line,
    found,
    allowed,
    message: `${path}${line === undefined ? '' : ` (line ${line})`}: found ${found}; allowed: ${allowed}`,
  };
}

/** Not wrong, but somebody should know. */
function warningsOf(estate: Estate, lineOf: CheckOptions['lineOf']): Warning[] {
  const warnings: Warning[] = [];
  const warn = (path: PropertyKey[], message: string) =>
    warnings.push({ path: pathText(path), line: lineOf?.(path, false), message });
  estate.monitoring.alert_channels.forEach((channel, index) => {
    if (channel.type !== 'email') return;
    channel.recipients.forEach((recipient, at) => {
      if (!/^[^\s@]+@[^\s@]+\.[^\s@]+$/.test(recipient))
        warn(
          ['monitoring', 'alert_channels', index, 'recipients', at],
          `${shown(recipient, [])} is not an e-mail address; nothing will be sent to it`,
        );
    });
  });
  if (!estate.traffic && Object.keys(estate.services).length > 0)
    warn(['traffic'], 'there is no traffic section: an endpoint of a service stands in its record only');
  const listed = new Map<string, string>();
  for (const [zone, regions] of Object.entries(estate.compliance.data_residency))
    for (const [index, region] of regions.entries()) {
      const first = listed.get(region);
      if (first !== undefined && first !== zone)
        warn(
          ['compliance', 'data_residency', zone, index],
          `${region} is also in zone ${first}; as a data_residency it stands for ${first}`,
        );
      else listed.set(region, zone);
    }
  for (const [index, provider] of estate.providers.entries())
    if (!provider.enabled)
      warn(['providers', index, 'enabled'], `${provider.name} is not enabled: nothing new goes there`);
  return warnings;
}

export function checkEstate(value: unknown, options: CheckOptions = {}): EstateResult {
  const { lineOf, allowedNames } = options;
  const problems = distinct([
    ...schemaProblems(Estate, value),
    ...configurationProblems(value),
    ...ruleProblems(value, allowedNames),
  ]);
  if (problems.length > 0)
    return {
      ok: false,
      errors: problems.map((problem) => fileError(problem, lineOf)).sort((a, b) => (a.line ?? 0) - (b.line ?? 0)),
      warnings: [],
    };
  const parsed = Estate.parse(value);
  const services = Object.fromEntries(
    Object.entries(parsed.services).map(([name, service]) => [
      name,
      { ...service, configuration: Mapping.parse(configurations[service.type].parse(service.configuration)) },
    ]),
  );
  const estate: Estate = { ...parsed, services };
  return { ok: true, estate, warnings: warningsOf(estate, lineOf) };
}

/**
 * The estate of one run: the worker's own, with the sections that its input carries in their place, each as a whole.
 * Anything else in the input is an error.
 */
export function mergeInput(own: Estate, input: unknown): EstateResult {
  if (!isMapping(input))
    return {
      ok: false,
      errors: [
        fileError(
          { path: [], found: shown(input, []), allowed: `a mapping with ${inputSections.join(', ')}` },
          undefined,
        ),
      ],
      warnings: [],
    };
  const foreign = Object.keys(input).filter((key) => !inputSections.some((section) => section === key));
  const carried: EstateInput = Object.fromEntries(
    inputSections.flatMap((section) => (input[section] === undefined ? [] : [[section, input[section]]])),
  );
  // Sections of an input have no secret fields; the names in the rest were judged when the worker's file was read.
  const names = [...canonical(own).matchAll(/\$\{([A-Za-z_][A-Za-z0-9_]*)\}/g)].map(([, name]) => String(name));
  const checked = checkEstate({ ...own, ...carried }, { allowedNames: names });
  const refused = foreign.map((key) =>
    fileError(
      {
        path: [key],
        found: `the section ${shown(key, [])} in an input`,
        allowed: `${inputSections.join(', ')}; all else comes from the worker's own file`,
      },
      undefined,
    ),
  );
  if (refused.length === 0) return checked;
  return { ok: false, errors: [...refused, ...(checked.ok ? [] : checked.errors)], warnings: [] };
}

/** Of each section besides those an input may carry: sha256 of its canonical JSON. Tells no values. */
export function otherSections(estate: Estate): Record<string, string> {
  const carried: readonly string[] = inputSections;
  return Object.fromEntries(
    Object.entries(estate).flatMap(([key, section]) =>
      carried.includes(key) || section === undefined ? [] : [[key, sha256Hex(canonical(section))]],
    ),
  );
}

/** Other sections in which a file differs from the worker's own: a run with parts of that file is refused. */
export function sectionsThatDiffer(own: Estate, others: Readonly<Record<string, string>>): string[] {
  const mine = otherSections(own);
  return Object.keys({ ...mine, ...others }).filter((key) => mine[key] !== others[key]);
}
