/** What one placement costs a month, by list price: quantities of the configuration, billed as the cloud's price sheet says. */
import { ComputeConfiguration } from './configuration.ts';
import {
  doubtOf,
  type Price,
  type PriceRow,
  type PriceSheet,
  priceIn,
  priceOf,
  rowsOf,
  sumUsd,
  toCents,
} from './prices.ts';
import { type Quantity, quantitiesOf } from './quantities.ts';
import type { Configuration, ServiceType } from './service.ts';
import { cheapestKind, unitsFor } from './sizing.ts';

export interface CostLine {
  item: string;
  quantity: number;
  unit: string;
  /** Whole cents. */
  monthlyUsd: number;
  /** Assumption, cap, `unverified`, in one sentence; may be empty. */
  note: string;
}

export interface Estimate {
  /** Sum of the lines, each rounded to the cent. */
  monthlyUsd: number;
  lines: CostLine[];
  /** What was assumed to get from the configuration to quantities. */
  assumptions: string[];
}

/** Why there is no estimate. */
export interface Unpriced {
  unpriced: string;
}

interface Billed {
  row: PriceRow;
  price: Price;
  quantity: number;
  /** That the price was not looked up, in words; may be empty. */
  doubt: string;
}

/** The price of one unit where a choice among units must be made: the first tier's. */
const unitPrice = (price: Price): number => (typeof price === 'number' ? price : (price[0]?.usd ?? 0));

function line({ row, price, quantity, doubt }: Billed): CostLine {
  const sized = row.whole
    ? unitsFor(quantity, { capacity: row.per, minUnits: row.min_units, maxUnits: row.max_units })
    : { units: Math.max(quantity / row.per, row.min_units), capped: false };
  const notes = [row.assumption, sized.capped && `capped at ${sized.units}, which carries less than the peak`, doubt];
  return {
    item: row.item,
    quantity: Math.round(sized.units * 1000) / 1000,
    unit: row.unit,
    monthlyUsd: toCents(priceOf(sized.units, price) * row.times),
    note: notes.filter(Boolean).join('; '),
  };
}

/** Rows without a word of their own are all billed; of those that share one, the cheapest that carries the load. */
function chosenRows(billed: readonly Billed[]): Billed[] {
  const words = new Set(billed.map(({ row }) => row.alternative));
  return [...words].flatMap((word) => {
    const rows = billed.filter(({ row }) => row.alternative === word);
    if (word === undefined) return rows;
    const kinds = rows.map((one) => ({
      one,
      capacity: one.row.per,
      minUnits: one.row.min_units,
      maxUnits: one.row.max_units,
      price: unitPrice(one.price) * one.row.times,
    }));
    const best = cheapestKind(rows[0]?.quantity ?? 0, kinds);
    return best ? [best.kind.one] : [];
  });
}

export function estimate(
  sheet: PriceSheet | undefined,
  region: string,
  type: ServiceType,
  configuration: Configuration,
): Estimate | Unpriced {
  if (!sheet) return { unpriced: 'there is no price sheet for this cloud' };
  const instanceType = type === 'compute' ? ComputeConfiguration.parse(configuration).instance_type : undefined;
  const rows = rowsOf(sheet, type, instanceType);
  if (instanceType && !rows.some((row) => row.instance_type === instanceType))
    return { unpriced: `config/prices/${sheet.provider}.yaml has no price for ${instanceType}` };
  if (rows.length === 0) return { unpriced: `config/prices/${sheet.provider}.yaml has no prices for ${type}` };

  const quantities = new Map(quantitiesOf(type, configuration).map((one) => [one.name, one]));
  const billed: Billed[] = [];
  const used = new Set<Quantity>();
  for (const row of rows) {
    const price = priceIn(sheet, row.usd, region);
    if (price === undefined)
      return { unpriced: `config/prices/${sheet.provider}.yaml has no price for ${row.item} in ${region}` };
    const quantity = quantities.get(row.quantity);
    if (!quantity) return { unpriced: `${row.item} bills ${row.quantity}, which ${type} does not have` };
    used.add(quantity);
    billed.push({ row, price, quantity: quantity.quantity, doubt: doubtOf(sheet, row, region) });
  }
  const lines = chosenRows(billed).map(line);
  return {
    lines,
    monthlyUsd: sumUsd(lines.map((one) => one.monthlyUsd)),
    assumptions: [...used].map((one) => one.assumption).filter(Boolean),
  };
}

/** Data that leaves a cloud towards another one. */
export function egress(sheet: PriceSheet, region: string, gb: number, note: string): CostLine | Unpriced {
  const price = priceIn(sheet, sheet.egress.usd, region);
  if (price === undefined)
    return { unpriced: `config/prices/${sheet.provider}.yaml has no price for ${sheet.egress.item} in ${region}` };
  const notes = [note, doubtOf(sheet, sheet.egress, region)];
  return {
    item: sheet.egress.item,
    quantity: Math.round(gb * 1000) / 1000,
    unit: 'GB',
    monthlyUsd: toCents(priceOf(gb, price)),
    note: notes.filter(Boolean).join('; '),
  };
}
