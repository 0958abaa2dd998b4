import {CairnError, IntegrityError, refusal} from './errors.js';

/** Gets a bearer token; stale is the one that the server believes no longer. */
export type GetToken = (stale?: string) => string | undefined | Promise<string | undefined>;

/** How a client talks to its server. What is left out has a default. */
export interface TransportOptions {
  /** Where the server is, such as https://files.example.com or https://example.com/storage. A page may leave it out to talk to its own origin. */
  server?: string;
  /** Asked for a token before the first request, and again when the server says that it has expired. */
  getToken?: GetToken;
  /** Headers of every request. */
  headers?: Record<string, string>;
  /** How often a request is tried again after a failure that may pass. 10 by default, which takes about two minutes. */
  retries?: number;
  /** How long a request may take, in milliseconds. 120,000 by default. */
  timeout?: number;
  /** In place of the global fetch. Uploads then run in the calling thread. */
  fetch?: typeof fetch;
}

export interface Call<T> {
  query?: Record<string, string | number | boolean | undefined>;
  headers?: Record<string, string | undefined>;
  body?: Uint8Array | Blob | string;
  /** A body that becomes JSON. */
  json?: unknown;
  signal?: AbortSignal;
  /** The request must not happen twice, so it is sent again only where the server refused to begin with it. */
  once?: boolean;
  /** Called before another attempt, which it prevents by failing. It may give the call another body. */
  again?: () => Promise<unknown>;
  /** Reads the answer; a failure to do so counts as one of the request. */
  read: (res: Response) => T | Promise<T>;
}

const firstDelay = 250; // milliseconds
const longestDelay = 30_000;
const longestRetryAfter = 300_000;
const transient = new Set([408, 423, 425, 429, 500, 502, 503, 504]);
// Codes of refusals with such a status that do not pass by waiting.
const lasting = new Set(['content-damaged', 'links-unreconciled', 'too-many-pending']);

/** Sends requests: with a token, renewed when it expires; again after failures that may pass. */
export class Transport {
  private held?: Promise<string | undefined>;

  constructor(readonly options: TransportOptions) {
    // A page has an origin, which stands for a server that is left out.
    if (!options.server && typeof location === 'undefined') throw new TypeError('want the URL of the server');
    if (options.server && typeof location === 'undefined') new URL(options.server);
  }

  /** The URL of a path of the API. */
  url(path: string, query: Call<unknown>['query'] = {}): string {
    const q = new URLSearchParams();
    for (const [k, v] of Object.entries(query)) if (v !== undefined) q.set(k, String(v));
    const s = q.toString();
    return (this.options.server ?? '').replace(/\/+$/, '') + path + (s && '?' + s);
  }

  async send<T>(method: string, path: string, call: Call<T>): Promise<T> {
    let refused: string | undefined;
    for (let failures = 0; ; ) {
      call.signal?.throwIfAborted();
      const token = await this.token(refused);
      try {
        return await this.attempt(method, path, call, token);
      } catch (err) {
        call.signal?.throwIfAborted();
        if (err instanceof CairnError && err.status === 401 && token !== undefined && token !== refused) {
          refused = token;
          continue;
        }
        if (!(err instanceof Retryable)) throw err;
        if (failures++ >= (this.options.retries ?? 10) || (call.once && !err.untouched)) throw err.cause;
        await sleep(Math.max(err.after, backoff(failures)), call.signal);
        await call.again?.();
      }
    }
  }

  /** The token to send; another one than the stale one if there is any. One question serves all who were refused with the same. */
  async token(stale?: string): Promise<string | undefined> {
    const {getToken} = this.options;
    if (!getToken) return undefined;
    let held = this.held;
    if (held) {
      const token = await held;
      if (stale === undefined || token !== stale) return token;
    }
    if (this.held === held) {
      held = Promise.resolve(getToken(stale));
      this.held = held;
      // A failure to get a token is told to those who wait for it, and not kept.
      held.catch(() => {
        if (this.held === held) this.held = undefined;
      });
    }
    return this.held;
  }

  private async attempt<T>(method: string, path: string, call: Call<T>, token: string | undefined): Promise<T> {
    const headers = new Headers(this.options.headers);
    for (const [k, v] of Object.entries(call.headers ?? {})) if (v !== undefined) headers.set(k, v);
    // Who takes problems is answered in Cairn's own spelling also by a server that is set up for Alyx's clients.
    headers.append('Accept', 'application/problem+json, */*;q=0.1');
    if (token !== undefined) headers.set('Authorization', 'Bearer ' + token);
    if (call.json !== undefined && !headers.has('Content-Type')) headers.set('Content-Type', 'application/json');
    const body = call.json === undefined ? call.body : JSON.stringify(call.json);

    const stop = new AbortController();
    const abort = () => stop.abort(call.signal?.reason);
    call.signal?.addEventListener('abort', abort, {once: true});
    const timer = setTimeout(() => stop.abort(new DOMException('the server took too long to answer', 'TimeoutError')), this.options.timeout ?? 120_000);
    try {
      const send = this.options.fetch ?? fetch;
      const res = await send(this.url(path, call.query), {method, headers, body: body as BodyInit | undefined, signal: stop.signal});
      if (!res.ok) {
        const err = await refusal(res);
        if (!transient.has(res.status) || lasting.has(err.code)) throw err;
        throw new Retryable(err, res.status === 429 || res.status === 503, retryAfter(res.headers.get('Retry-After')));
      }
      return await call.read(res);
    } catch (err) {
      if (err instanceof Retryable || err instanceof CairnError || err instanceof IntegrityError) throw err;
      throw new Retryable(stop.signal.aborted ? stop.signal.reason : err, false, 0);
    } finally {
      clearTimeout(timer);
      call.signal?.removeEventListener('abort', abort);
    }
  }
}

/** A failure that may pass. The request did nothing if it is untouched. */
class Retryable extends Error {
  constructor(override readonly cause: unknown, readonly untouched: boolean, readonly after: number) {
    super('try again');
  }
}

/** A delay that grows with the failures, and differs between clients that failed together. */
export function backoff(failures: number): number {
  return Math.min(longestDelay, firstDelay * 2 ** (failures - 1)) * (0.5 + Math.random() / 2);
}

/** Reads Retry-After, seconds or a date, as milliseconds from now on. */
export function retryAfter(header: string | null, now = Date.now()): number {
  if (!header) return 0;
  const ms = /^\d+$/.test(header.trim()) ? Number(header) * 1000 : Date.parse(header) - now;
  return Number.isFinite(ms) ? Math.min(Math.max(ms, 0), longestRetryAfter) : 0;
}

export function sleep(ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const abort = () => {
      clearTimeout(timer);
      reject(signal!.reason);
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener('abort', abort);
      resolve();
    }, ms);
    if (signal?.aborted) abort();
    else signal?.addEventListener('abort', abort, {once: true});
  });
}
