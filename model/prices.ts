/**
 * List prices, from `config/prices/<cloud>.yaml`. A row says which quantity of a service it bills, how that quantity becomes
 * billed units, and what a unit costs in which region: a cloud is added by its sheet alone.
 */
import { z } from 'zod';
import { type ProviderType, providerTypes, type ServiceType, serviceTypes } from './service.ts';

/** What a service uses in a month (730 hours), whatever the cloud; `quantities.ts` computes them. */
export const quantityNames = [
  'months',
  'hours',
  'stored_gb',
  'ingested_gb',
  'delivered_gb',
  'stream_gb',
  'peak_mb_per_second',
  'write_requests',
  'devices',
  'connection_minutes',
  'messages',
  'messages_per_day',
  'message_gb',
  'instance_hours',
  'instance_months',
  'network_gb',
] as const;
export type QuantityName = (typeof quantityNames)[number];

/** The price of a unit; with tiers, of the units up to each bound, cheapest bound last. */
const Price = z.union([
  z.number().min(0),
  z.array(z.strictObject({ up_to: z.number().positive().optional(), usd: z.number().min(0) })).min(1),
]);
export type Price = z.infer<typeof Price>;

/** Where a price comes from. */
const origin = {
  /** The day that the source states it for; where it names none, the day it was looked up. */
  date: z.iso.date(),
  source: z.url(),
  /** Whether the source was looked up: for all regions, for none, or for these regions and areas. */
  checked: z.union([z.enum(['verified', 'unverified']), z.array(z.string()).min(1)]),
};

const PriceRow = z.strictObject({
  item: z.string(),
  types: z.array(z.enum(serviceTypes)).min(1),
  quantity: z.enum(quantityNames),
  /** What is billed, in words: `GB-month`, `million messages`. */
  unit: z.string(),
  /** Quantity in one unit: 1000000 for "million messages", 400000 for "hub unit of 400,000 messages a day". */
  per: z.number().positive().default(1),
  /** Units are bought whole. */
  whole: z.boolean().default(false),
  min_units: z.number().min(0).default(0),
  /** Not to be had beyond; an alternative that would need more is left out, any other row is capped and says so. */
  max_units: z.number().positive().optional(),
  /** A unit is billed so many times a month: 730 for a price by the hour. */
  times: z.number().positive().default(1),
  /** Of the rows of one service type with the same word, the cheapest that suffices is billed. */
  alternative: z.string().optional(),
  /** Billed only for this instance type of the estate file. */
  instance_type: z.string().optional(),
  /** By region, or by the area that `areas` gives the region. */
  usd: z.record(z.string(), Price),
  assumption: z.string().default(''),
  ...origin,
});
export type PriceRow = z.infer<typeof PriceRow>;

export const PriceSheet = z.strictObject({
  provider: z.enum(providerTypes),
  /** Regions whose list prices are the same, unless a row names the region itself. */
  areas: z.record(z.string(), z.string()),
  rows: z.array(PriceRow),
  /** Data that leaves the cloud towards another one, per GB. */
  egress: z.strictObject({
    item: z.string(),
    usd: z.record(z.string(), Price),
    ...origin,
  }),
});
export type PriceSheet = z.infer<typeof PriceSheet>;

export type Prices = Partial<Record<ProviderType, PriceSheet>>;

export const priceIn = (sheet: PriceSheet, usd: Record<string, Price>, region: string): Price | undefined =>
  usd[region] ?? usd[sheet.areas[region] ?? ''];

/** What `plan` prints beside a price that nobody has compared with its source in this region; otherwise empty. */
export function doubtOf(sheet: PriceSheet, row: Pick<PriceRow, 'date' | 'checked'>, region: string): string {
  const { checked, date } = row;
  const compared = Array.isArray(checked)
    ? checked.includes(region) || checked.includes(sheet.areas[region] ?? '')
    : checked === 'verified';
  return compared ? '' : `price of ${date}, unverified`;
}

export const rowsOf = (sheet: PriceSheet, type: ServiceType, instanceType: string | undefined): PriceRow[] =>
  sheet.rows.filter(
    (row) => row.types.includes(type) && (row.instance_type === undefined || row.instance_type === instanceType),
  );

/** USD, not rounded. Units above a tier's bound are priced by the next one; the last tier has no bound. */
export function priceOf(units: number, price: Price): number {
  if (typeof price === 'number') return units * price;
  let total = 0;
  let below = 0;
  for (const { up_to = Number.POSITIVE_INFINITY, usd } of price) {
    if (units <= below) break;
    total += (Math.min(units, up_to) - below) * usd;
    below = up_to;
  }
  return total;
}

/** To the cent, half up; the epsilon keeps 1.005 from becoming 1.00. */
export const toCents = (usd: number): number => Math.round(usd * 100 + 1e-7) / 100;

/** Adds amounts that are whole cents without gathering binary noise. */
export const sumUsd = (amounts: readonly number[]): number =>
  amounts.reduce((cents, usd) => cents + Math.round(usd * 100), 0) / 100;
