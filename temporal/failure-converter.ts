/** Puts messages and stacks of failures into payloads, so that a codec encrypts them as well. Part of the workflow bundle. */
import { DefaultFailureConverter } from '@temporalio/common';

export const failureConverter = new DefaultFailureConverter({ encodeCommonAttributes: true });
