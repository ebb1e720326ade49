/** Aligned columns without borders: fits narrow terminals, and can be cut with other programs. Pure. */
import pc from 'picocolors';
import { printable } from '../../model/text.ts';

export interface Row {
  cells: (string | number)[];
  /** Lines of their own under the row: what is too long for a column. */
  below?: string[];
}

const gap = '  ';

/** Numbers are amounts: right-aligned, two decimals. A column of empty cells is left out. */
export function columns(head: readonly string[], rows: readonly Row[]): string {
  const texts = rows.map(({ cells }) =>
    cells.map((cell) => (typeof cell === 'number' ? cell.toFixed(2) : printable(cell))),
  );
  const shown = head.map((_, at) => at).filter((at) => texts.some((cells) => cells[at]));
  const right = new Set(shown.filter((at) => rows.some(({ cells }) => typeof cells[at] === 'number')));
  const widths = head.map((title, at) => Math.max(title.length, ...texts.map((cells) => cells[at]?.length ?? 0)));
  const line = (cells: readonly string[]): string =>
    shown
      .map((at) =>
        right.has(at) ? (cells[at] ?? '').padStart(widths[at] ?? 0) : (cells[at] ?? '').padEnd(widths[at] ?? 0),
      )
      .join(gap)
      .trimEnd();
  return [
    pc.bold(line(head)),
    ...rows.flatMap(({ below = [] }, at) => [
      line(texts[at] ?? []),
      ...below.map((text) => pc.dim(`${gap}${gap}${printable(text)}`)),
    ]),
  ].join('\n');
}

export const usd = (value: number): string => `${value < 0 ? '-' : ''}$${Math.abs(value).toFixed(2)}`;
