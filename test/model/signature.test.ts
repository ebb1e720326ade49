/** Answers that a key proves, against signatures that Node's own crypto makes. */
import { generateKeyPairSync, sign } from 'node:crypto';
import { isProof, type Signed, signedText } from '../../model/signature.ts';

const answer: Signed = { workflowId: 'w', runId: 'r', question: 'cutover', answer: 'approve', plan: '0123456789ab' };
const { publicKey, privateKey } = generateKeyPairSync('ed25519');
const key = publicKey.export({ format: 'der', type: 'spki' }).subarray(-32).toString('base64');
const proof = sign(null, signedText(answer), privateKey).toString('base64');

it('takes the signature of the key for exactly this answer', () => {
  expect(isProof(proof, key, answer)).toBe(true);
});

it.each(Object.keys(answer))('refuses it for another %s', (field) => {
  expect(isProof(proof, key, { ...answer, [field]: 'other' })).toBe(false);
});

it('refuses a key of small order, under which one signature would fit any answer', () => {
  const identity = Buffer.concat([Buffer.from([1]), Buffer.alloc(31)]);
  const forged = Buffer.concat([identity, Buffer.alloc(32)]).toString('base64');
  expect(isProof(forged, identity.toString('base64'), answer)).toBe(false);
});

it.each(['', 'no base64!', Buffer.alloc(64).toString('base64')])('refuses %j without throwing', (text) => {
  expect(isProof(text, key, answer)).toBe(false);
  expect(isProof(proof, text, answer)).toBe(false);
});
