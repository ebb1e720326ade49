/** Uploads of metadata and bytes in one body: `multipart/related` with a JSON part and a part of any type. */
import type { IncomingMessage } from 'node:http';
import type { Json } from '../../model/service.ts';
import { GoogleError } from './google-error.ts';

const blank = Buffer.from('\r\n\r\n');
const maxHead = 1024 * 1024;

/** Hands the second part's bytes to `write` as they come. */
export async function readMultipart(
  request: IncomingMessage,
  write: (chunk: Buffer) => void,
): Promise<{ metadata: Json; contentType: string | undefined }> {
  const boundary = /boundary=(?:"([^"]+)"|([^;\s]+))/i.exec(request.headers['content-type'] ?? '');
  const mark = boundary?.[1] ?? boundary?.[2];
  if (!mark) throw new GoogleError('required', 'Missing multipart boundary');
  const end = Buffer.from(`\r\n--${mark}--`);
  let head: Buffer = Buffer.alloc(0);
  let parts: { metadata: Json; contentType: string | undefined } | undefined;
  let tail: Buffer = Buffer.alloc(0);
  for await (const chunk of request as AsyncIterable<Buffer>) {
    let rest = chunk;
    if (!parts) {
      head = Buffer.concat([head, chunk]);
      const start = contentStart(head, mark);
      if (start === undefined) {
        if (head.length > maxHead) throw new GoogleError('invalid', 'Malformed multipart body.');
        continue;
      }
      parts = headOf(head.subarray(0, start), mark);
      rest = head.subarray(start);
    }
    // The end mark, and a little behind it, may be split over chunks: that much is held back.
    tail = tail.length > 0 ? Buffer.concat([tail, rest]) : rest;
    const keep = Math.min(tail.length, end.length + 64);
    if (tail.length > keep) write(tail.subarray(0, tail.length - keep));
    tail = Buffer.from(tail.subarray(tail.length - keep));
  }
  const at = tail.lastIndexOf(end);
  if (!parts || at < 0) throw new GoogleError('invalid', 'Malformed multipart body.');
  if (at > 0) write(tail.subarray(0, at));
  return parts;
}

/** Where the second part's content begins, or undefined while it has not come yet. */
function contentStart(head: Buffer, mark: string): number | undefined {
  const first = head.indexOf(blank);
  if (first < 0) return undefined;
  const second = head.indexOf(`\r\n--${mark}`, first);
  if (second < 0) return undefined;
  const start = head.indexOf(blank, second);
  return start < 0 ? undefined : start + blank.length;
}

function headOf(head: Buffer, mark: string): { metadata: Json; contentType: string | undefined } {
  const first = head.indexOf(blank) + blank.length;
  const second = head.indexOf(`\r\n--${mark}`, first);
  const headers = head.subarray(second).toString('utf8');
  const text = head.subarray(first, second).toString('utf8');
  try {
    return {
      metadata: text.trim() ? (JSON.parse(text) as Json) : {},
      contentType: /^content-type:\s*(.+?)\s*$/im.exec(headers)?.[1],
    };
  } catch {
    throw new GoogleError('invalid', 'Malformed metadata part.');
  }
}
