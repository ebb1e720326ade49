/** What a key proves, by Ed25519: people's answers (over what is answered, to which question, of which run), redirects of devices. */
import { ed25519 } from '@noble/curves/ed25519.js';
import { base64 } from '@scure/base';

export interface Signed {
  workflowId: string;
  /** Of the first run of the chain: a reset or a continuation keeps it. */
  runId: string;
  question: string;
  answer: string;
  /** The 12 hex digits shown with the question. */
  plan: string;
}

/** The bytes that are signed: one JSON array, so that no two different answers give the same text. */
export const signedText = ({ workflowId, runId, question, answer, plan }: Signed): Uint8Array =>
  new TextEncoder().encode(JSON.stringify(['multi-cloud decision', workflowId, runId, question, answer, plan]));

/** Whether `proof` (base64) is the signature of this answer by the holder of `key` (32 bytes, base64). Never throws. */
export const isProof = (proof: string, key: string, answer: Signed): boolean =>
  isSignature({ signature: () => base64.decode(proof), key, bytes: signedText(answer) });

/**
 * Whether these bytes were signed by the holder of `key` (32 bytes, base64). Never throws, also where `signature` does.
 * Strict as in RFC 8032: under a key of small order, which the looser rules of ZIP 215 take, one signature would fit any text.
 */
export function isSignature({
  signature,
  key,
  bytes,
}: {
  signature: () => Uint8Array;
  key: string;
  bytes: Uint8Array;
}): boolean {
  try {
    return ed25519.verify(signature(), bytes, base64.decode(key), { zip215: false });
  } catch {
    return false; // no base64, or no point of the curve
  }
}
