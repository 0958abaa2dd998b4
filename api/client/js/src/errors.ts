import type {components} from './openapi.js';

/** What the server says of a request that it refuses (RFC 9457). */
export type Problem = components['schemas']['Problem'];

/** A refusal of the server. Its code is stable; api/ERRORS.md lists them. */
export class CairnError extends Error {
  override readonly name = 'CairnError';

  constructor(readonly status: number, readonly code: string, detail: string, readonly details: Record<string, unknown> = {}, readonly requestID = '') {
    super(`${detail} (${status} ${code})`);
  }
}

/** The content changed while it was being uploaded. Upload it again when it is at rest. */
export class SourceChangedError extends Error {
  override readonly name = 'SourceChangedError';

  constructor(options?: ErrorOptions) {
    super('the content changed while it was being uploaded', options);
  }
}

/** What was downloaded is not what the server promised: bytes without their digest, or another version. */
export class IntegrityError extends Error {
  override readonly name = 'IntegrityError';
}

/** Makes an error of an answer that is not a success. Proxies answer in forms of their own. */
export async function refusal(res: Response): Promise<CairnError> {
  const text = await res.text().catch(() => '');
  const id = res.headers.get('X-Request-ID') ?? '';
  try {
    const p = JSON.parse(text) as Partial<Problem>;
    if (typeof p.code === 'string') return new CairnError(res.status, p.code, p.detail ?? p.title ?? '', p.details as Record<string, unknown>, id);
  } catch {
    // No problem of ours.
  }
  return new CairnError(res.status, 'http-' + res.status, res.statusText || 'the server refuses', {}, id);
}

/** An error as it travels between threads, which clone no classes. */
export interface Flat {
  name: string;
  message: string;
  status?: number;
  code?: string;
  details?: Record<string, unknown>;
  requestID?: string;
}

export function flatten(err: unknown): Flat {
  if (err instanceof CairnError) return {...err, name: err.name, message: err.message};
  if (err instanceof Error) return {name: err.name, message: err.message};
  return {name: 'Error', message: String(err)};
}

export function unflatten(f: Flat): Error {
  switch (f.name) {
    case 'CairnError': {
      const err = new CairnError(f.status ?? 0, f.code ?? '', '', f.details, f.requestID);
      err.message = f.message;
      return err;
    }
    case 'SourceChangedError':
      return new SourceChangedError();
    case 'IntegrityError':
      return new IntegrityError(f.message);
    case 'RangeError':
      return new RangeError(f.message);
    case 'TypeError':
      return new TypeError(f.message);
    case 'AbortError':
    case 'TimeoutError':
    case 'NotReadableError':
      return new DOMException(f.message, f.name);
  }
  return new Error(f.message);
}
