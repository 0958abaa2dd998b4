import {CairnError} from './errors.js';

/**
 * Reads an answer that is a JSON object a line, as it comes. A line with the member error ends it with that error, and
 * whoever stops reading ends the request.
 */
export async function* readLines<T>(res: Response, signal?: AbortSignal): AsyncGenerator<T> {
  const reader = res.body!.pipeThrough(new TextDecoderStream() as ReadableWritablePair<string, Uint8Array>).getReader();
  const abort = () => void reader.cancel(signal!.reason).catch(() => {});
  signal?.addEventListener('abort', abort, {once: true});
  try {
    for (let rest = ''; ; ) {
      const {done, value = ''} = await reader.read();
      signal?.throwIfAborted();
      const lines = (rest + value).split('\n');
      rest = done ? '' : lines.pop()!;
      for (const line of lines) if (line !== '') yield parse(line);
      if (done) return;
    }
  } finally {
    signal?.removeEventListener('abort', abort);
    reader.cancel().catch(() => {});
  }
}

function parse<T>(line: string): T {
  const {error, ...rest} = JSON.parse(line);
  if (error) throw new CairnError(error.status, error.code, error.detail, error.details ?? {});
  return rest as T;
}
