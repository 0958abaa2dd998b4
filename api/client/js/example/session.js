// Who is signed in, and where. The token is kept in this tab only.
import {Client} from '@cairn-store/client';

const kept = sessionStorage;

export const session = {
  get token() {
    return kept.getItem('cairn.token') ?? undefined;
  },
  get bucket() {
    return kept.getItem('cairn.bucket') ?? new URLSearchParams(location.search).get('bucket') ?? 'demo';
  },
  signIn(token, bucket) {
    kept.setItem('cairn.token', token);
    kept.setItem('cairn.bucket', bucket);
  },
  signOut() {
    kept.removeItem('cairn.token');
  },
};

// There is no other token than the one that was given, so a stale one ends what asks.
function getToken(stale) {
  if (stale !== undefined) throw Object.assign(new Error('Your token is not valid, or has expired. Sign in again.'), {status: 401});
  return session.token;
}

/** Makes the clients anew, for another token. One is for what somebody waits for, one for uploads, which wait longer. */
export function connect() {
  return {page: new Client({getToken, retries: 2}), uploads: new Client({getToken})};
}
