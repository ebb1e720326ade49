/**
 * Key files of service accounts, as Google's console makes them. The local cloud trusts the keys that lie in the folder
 * `keys` of its state; each stands for an account that exists, with the role of an owner of the project but for a visitor's.
 */
import { createPublicKey, generateKeyPairSync, type KeyObject, randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';

const KeyFile = z.object({ private_key_id: z.string(), private_key: z.string(), client_email: z.string() });

export interface TrustedKey {
  id: string;
  email: string;
  publicKey: KeyObject;
}

/** The account of a program that is not ours: it exists, and has the rights that a bucket's policy gives it. */
export const visitor = 'visitor';

const folderOf = (state: string): string => join(state, 'keys');

/** Path of the key file of `<name>@<project>.iam.gserviceaccount.com`, made on first use. `state`: the local cloud's state folder. */
export function serviceAccountKeyFile(state: string, project: string, name = 'multi-cloud-worker'): string {
  const file = join(folderOf(state), `${name}.json`);
  if (existsSync(file)) return file;
  const { privateKey } = generateKeyPairSync('rsa', {
    modulusLength: 2048,
    publicKeyEncoding: { type: 'spki', format: 'pem' },
    privateKeyEncoding: { type: 'pkcs8', format: 'pem' },
  });
  const email = `${name}@${project}.iam.gserviceaccount.com`;
  const key = {
    type: 'service_account',
    project_id: project,
    private_key_id: randomBytes(20).toString('hex'),
    private_key: privateKey,
    client_email: email,
    client_id: `1${BigInt(`0x${randomBytes(8).toString('hex')}`)
      .toString()
      .padStart(20, '0')}`,
    auth_uri: 'https://accounts.google.com/o/oauth2/auth',
    token_uri: 'https://oauth2.googleapis.com/token',
    auth_provider_x509_cert_url: 'https://www.googleapis.com/oauth2/v1/certs',
    client_x509_cert_url: `https://www.googleapis.com/robot/v1/metadata/x509/${encodeURIComponent(email)}`,
    universe_domain: 'googleapis.com',
  };
  mkdirSync(folderOf(state), { recursive: true });
  writeFileSync(`${file}.new`, JSON.stringify(key, null, 2), { mode: 0o600 });
  renameSync(`${file}.new`, file);
  return file;
}

/** Milliseconds since 1970; differs when a key has come or gone. */
export const keysChangedAt = (state: string): number =>
  statSync(folderOf(state), { throwIfNoEntry: false })?.mtimeMs ?? 0;

export function trustedKeys(state: string): TrustedKey[] {
  const folder = folderOf(state);
  if (!existsSync(folder)) return [];
  return readdirSync(folder)
    .filter((name) => name.endsWith('.json'))
    .map((name) => {
      const key = KeyFile.parse(JSON.parse(readFileSync(join(folder, name), 'utf8')));
      return { id: key.private_key_id, email: key.client_email, publicKey: createPublicKey(key.private_key) };
    });
}
