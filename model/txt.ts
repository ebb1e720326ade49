/** TXT records as zone files and the clouds that follow them write a value: quoted strings of at most 255 bytes (RFC 1035, 5.1). */

const longest = 255;

/** The strings of a value of ASCII characters. */
export const txtStrings = (value: string): string[] => value.match(new RegExp(`.{1,${longest}}`, 'gs')) ?? [''];

/** The value must hold no quotes and no backslashes, as none of ours does. */
export const quoted = (value: string): string =>
  txtStrings(value)
    .map((text) => `"${text}"`)
    .join(' ');

/** The strings of a quoted value; what is not quoted is one string. */
export function quotedStrings(text: string): string[] {
  const strings = [...text.matchAll(/"((?:[^"\\]|\\.)*)"/gs)].map(([, string = '']) => string.replace(/\\(.)/gs, '$1'));
  return strings.length > 0 ? strings : [text];
}

export const unquoted = (text: string): string => quotedStrings(text).join('');
