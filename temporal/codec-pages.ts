/** The two pages of the codec server for people: show the token, and what to do in Temporal's UI then. */
import { sessionHours } from './codec-access.ts';

const document = (body: string): string =>
  `<!doctype html><html lang="en"><meta charset="utf-8"><title>Codec server</title>${body}</html>\n`;

export const signInPage = (wrong = ''): string =>
  document(
    `<h1>Codec server</h1><p role="alert">${wrong}</p><form method="post" action="/sign-in">` +
      '<label>Token <input type="password" name="token" required autofocus></label> <button>Sign in</button></form>',
  );

export const signedInPage = document(
  `<h1>Signed in for ${sessionHours} hours</h1><p>In Temporal’s UI open the codec server settings (the spectacles at the top), ` +
    'enter the address of this server and switch on “Include cross-origin credentials”.</p>',
);
