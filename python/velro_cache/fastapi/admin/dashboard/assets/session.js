// The token an operator has typed in. It lives in this page, or on request in this tab, and is
// never part of an address.

const NAME = `velro-cache ${location.pathname}`;

function kept() {
  try {
    return sessionStorage.getItem(NAME);
  } catch {
    return null; // A browser may forbid storage; then it lives in the page alone.
  }
}

let token = kept();

export const currentToken = () => token;

export function signIn(text, keep) {
  token = text;
  try {
    if (keep) sessionStorage.setItem(NAME, text);
    else sessionStorage.removeItem(NAME);
  } catch {
    // As above.
  }
}

export function signOut() {
  signIn(null, false);
}
