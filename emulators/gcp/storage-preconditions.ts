/** Preconditions of calls on objects and buckets: https://cloud.google.com/storage/docs/request-preconditions */
import { GoogleError } from './google-error.ts';
import type { Version } from './storage-objects.ts';

export interface Conditions {
  generationMatch?: string | undefined;
  generationNotMatch?: string | undefined;
  metagenerationMatch?: string | undefined;
  metagenerationNotMatch?: string | undefined;
}

/** `ifGenerationMatch` and its kin; with `Source`, `ifSourceGenerationMatch`. */
export function conditionsOf(query: URLSearchParams, of: '' | 'Source' = ''): Conditions {
  const value = (name: string): string | undefined => {
    const text = query.get(`if${of}${name}`) ?? undefined;
    if (text !== undefined && !/^\d+$/.test(text)) throw new GoogleError('invalid', `Invalid if${of}${name}: ${text}`);
    return text;
  };
  return {
    generationMatch: value('GenerationMatch'),
    generationNotMatch: value('GenerationNotMatch'),
    metagenerationMatch: value('MetagenerationMatch'),
    metagenerationNotMatch: value('MetagenerationNotMatch'),
  };
}

/** Generation 0 stands for "there is no live object". */
export function holds(conditions: Conditions, version: Version | undefined): boolean {
  const generation = version?.generation ?? '0';
  const metageneration = version === undefined ? undefined : String(version.metageneration);
  const { generationMatch, generationNotMatch, metagenerationMatch, metagenerationNotMatch } = conditions;
  return (
    (generationMatch === undefined || generationMatch === generation) &&
    (generationNotMatch === undefined || generationNotMatch !== generation) &&
    (metagenerationMatch === undefined || metagenerationMatch === metageneration) &&
    (metagenerationNotMatch === undefined || metagenerationNotMatch !== metageneration)
  );
}

export function requireConditions(conditions: Conditions, version: Version | undefined): void {
  if (!holds(conditions, version))
    throw new GoogleError('conditionNotMet', 'At least one of the pre-conditions you specified did not hold.');
}
