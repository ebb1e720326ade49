/** All dated sheets together, as `config/load.ts` reads them. */
import type { Facts } from './facts.ts';
import type { Prices } from './prices.ts';

export interface Sheets {
  facts: Facts;
  prices: Prices;
}
