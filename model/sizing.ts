/** How many units of something that is sold in units, and which kind of unit, carry a load. Pure; drivers size with it as prices do. */

export interface UnitKind {
  /** What one unit carries, in the unit of the load. */
  capacity: number;
  minUnits?: number | undefined;
  maxUnits?: number | undefined;
  /** Price of a unit, in any currency as long as all kinds use the same. */
  price: number;
}

/** Units bought, whether that is as many as the load needs or as many as there are. */
export function unitsFor(load: number, kind: Omit<UnitKind, 'price'>): { units: number; capped: boolean } {
  const wanted = Math.max(Math.ceil(load / kind.capacity - 1e-9), kind.minUnits ?? 0);
  const units = Math.min(wanted, kind.maxUnits ?? wanted);
  return { units, capped: units < wanted };
}

/** The kind that carries the load for the least money; where none does, the one that carries most. The first wins a tie. */
export function cheapestKind<Kind extends UnitKind>(
  load: number,
  kinds: readonly Kind[],
): { kind: Kind; units: number; capped: boolean } | undefined {
  const sized = kinds.map((kind) => ({ kind, ...unitsFor(load, kind) }));
  const enough = sized.filter(({ capped }) => !capped);
  if (enough.length > 0)
    return enough.reduce((best, one) => (one.units * one.kind.price < best.units * best.kind.price ? one : best));
  if (sized.length === 0) return undefined;
  return sized.reduce((best, one) => (one.units * one.kind.capacity > best.units * best.kind.capacity ? one : best));
}
