/** Text that people or clouds sent, made harmless for the place where it is shown. */

/** For Markdown (the Temporal UI): no markup, no HTML, no control characters, one line. */
export const markdown = (text: string): string => printable(text).replace(/[\\`*_{}[\]<>#|~!]/g, '\\$&');

/** For a terminal: no escape sequences, one line. */
export const printable = (text: string): string =>
  // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what is looked for
  text.replace(/[\u0000-\u001f\u007f-\u009f\u2028\u2029\u202a-\u202e\u2066-\u2069]/g, ' ');

/** One row of a CSV file (RFC 4180). What a spreadsheet would take for a formula is led by an apostrophe. */
export const csvRow = (cells: readonly string[]): string =>
  `${cells.map((cell) => `"${cell.replace(/^[=+\-@\t\r]/, "'$&").replaceAll('"', '""')}"`).join(',')}\r\n`;
