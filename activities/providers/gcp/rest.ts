/** Google APIs whose SDK packages would be larger than what is used of them: called over REST with Google's authorisation library. */
import type { GoogleAuth } from 'google-auth-library';
import { z } from 'zod';
import { isMissing } from './compute-errors.ts';

export interface Rest {
  /** Parsed with the schema; throws the library's error otherwise. */
  call<T>(
    method: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE',
    url: string,
    options: { body?: object; schema: z.ZodType<T>; signal: AbortSignal },
  ): Promise<T>;
  /** `GET`, or undefined where there is nothing. */
  find<T>(url: string, options: { schema: z.ZodType<T>; signal: AbortSignal }): Promise<T | undefined>;
  /** `DELETE`; what is gone already is fine. */
  remove(url: string, signal: AbortSignal): Promise<void>;
}

/** `timeout`: of one request, milliseconds. */
export function rest(auth: GoogleAuth, timeout: number): Rest {
  const call: Rest['call'] = async (method, url, { body, schema, signal }) => {
    const { data } = await auth.request({ url, method, signal, timeout, ...(body ? { data: body } : {}) });
    return schema.parse(data);
  };
  return {
    call,
    async find(url, options) {
      try {
        return await call('GET', url, options);
      } catch (error) {
        if (isMissing(error)) return undefined;
        throw error;
      }
    },
    async remove(url, signal) {
      try {
        await call('DELETE', url, { schema: z.unknown(), signal });
      } catch (error) {
        if (!isMissing(error)) throw error;
      }
    },
  };
}
