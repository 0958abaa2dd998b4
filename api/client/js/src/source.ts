import {SourceChangedError} from './errors.js';
import {blobBodies, openPath} from '#platform';

/** Content that can be read at any place, again and again. A custom one is read in the calling thread. */
export interface Source {
  /** Length in bytes, which does not change. */
  readonly size: number;
  /** Returns exactly the bytes [offset, offset+length), in memory that is the caller's. */
  read(offset: number, length: number): Promise<Uint8Array>;
  /** Yields all bytes in order. Those of a piece may change once the next is asked for. */
  pieces?(): AsyncIterable<Uint8Array>;
  /** Returns bytes for the body of a request, which are read as it is sent. */
  slice?(offset: number, length: number): Blob;
  close?(): Promise<void>;
}

/** What can be uploaded: a File or Blob, bytes, in Node the file at a path, or whatever reads like a Source. */
export type Content = Blob | ArrayBuffer | ArrayBufferView | {path: string} | Source;

/** Content that may travel to a worker. */
export type Portable = Exclude<Content, Source>;

export function isPortable(content: Content): content is Portable {
  return !('read' in content);
}

/** Opens content for reading. */
export async function openSource(content: Content): Promise<Source> {
  if (content instanceof Blob) return new BlobSource(content);
  if (content instanceof ArrayBuffer) return new BytesSource(new Uint8Array(content));
  if (ArrayBuffer.isView(content)) return new BytesSource(new Uint8Array(content.buffer, content.byteOffset, content.byteLength));
  if ('path' in content) return openPath(content.path);
  return content;
}

const pieceSize = 512 * 1024;

class BlobSource implements Source {
  readonly slice?: (offset: number, length: number) => Blob;

  constructor(private readonly blob: Blob) {
    if (blobBodies) this.slice = (offset, length) => blob.slice(offset, offset + length);
  }

  get size(): number {
    return this.blob.size;
  }

  async read(offset: number, length: number): Promise<Uint8Array> {
    try {
      const bytes = new Uint8Array(await this.blob.slice(offset, offset + length).arrayBuffer());
      if (bytes.length === length) return bytes;
    } catch (err) {
      throw changed(err);
    }
    throw new SourceChangedError();
  }

  // Memory for the bytes is lent to the stream and comes back: what is thrown
  // away is freed late by browsers.
  async *pieces(): AsyncGenerator<Uint8Array> {
    const reader = byob(this.blob.stream());
    if (!reader) {
      yield* windows(this, pieceSize);
      return;
    }
    try {
      for (let buffer = new ArrayBuffer(pieceSize); ; ) {
        const {done, value} = await reader.read(new Uint8Array(buffer));
        if (done) return;
        yield value;
        buffer = value.buffer;
      }
    } catch (err) {
      throw changed(err);
    } finally {
      void reader.cancel().catch(() => {});
    }
  }
}

function byob(stream: ReadableStream<Uint8Array<ArrayBuffer>>): ReadableStreamBYOBReader | undefined {
  try {
    return stream.getReader({mode: 'byob'});
  } catch {
    return undefined; // not every browser has them
  }
}

// Browsers refuse to read a File that is no longer what was chosen.
function changed(err: unknown): unknown {
  return (err as Error)?.name === 'NotReadableError' ? new SourceChangedError({cause: err}) : err;
}

/** Yields the bytes of a source in windows, and reads one ahead. */
export async function* windows(source: Source, size: number): AsyncGenerator<Uint8Array> {
  const read = (at: number) => {
    if (at >= source.size) return undefined;
    const bytes = source.read(at, Math.min(size, source.size - at));
    bytes.catch(() => {}); // it is told when the bytes are waited for
    return bytes;
  };
  for (let at = 0, next = read(at); next; ) {
    const bytes = await next;
    at += bytes.length;
    next = read(at);
    yield bytes;
  }
}

class BytesSource implements Source {
  constructor(private readonly bytes: Uint8Array) {}

  get size(): number {
    return this.bytes.length;
  }

  async read(offset: number, length: number): Promise<Uint8Array> {
    // Answers of the server must get their turn.
    await new Promise((resolve) => setTimeout(resolve));
    return this.bytes.slice(offset, offset + length);
  }
}
