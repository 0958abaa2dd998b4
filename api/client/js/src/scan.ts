import {newHasher} from './digest.js';
import type {Source} from './source.js';
import type {Splitter} from './splitter.js';
import {ChunkList, entrySize} from './wire.js';

export interface ScanOptions {
  /** Bytes that are read at once. */
  window?: number;
  /** Bytes of content that a list tells of, at least, but the last one's. Lists begin small and grow up to it. */
  span?: number;
  signal?: AbortSignal;
  onScanned?: (bytes: number) => void;
}

const firstSpan = 2 * 1024 * 1024;

/**
 * Cuts and hashes content, and yields the list of its chunks piece by piece. It
 * holds one window and the longest chunk in memory, and reads a window ahead.
 */
export async function* scan(source: Source, splitter: Splitter, options: ScanOptions = {}): AsyncGenerator<ChunkList> {
  const {window = 8 * 1024 * 1024, span = 32 * 1024 * 1024, signal, onScanned} = options;
  const hasher = await newHasher();
  const buffer = new Uint8Array(Math.min(source.size, window + splitter.max));
  const read = (at: number) => {
    const bytes = source.read(at, Math.min(window, source.size - at));
    bytes.catch(() => {}); // it is told when the bytes are waited for
    return bytes;
  };

  let list = new ListBuilder(0, 0);
  let wanted = Math.min(span, firstSpan);
  let held = 0; // bytes in the buffer that are not cut yet
  let at = 0; // bytes read
  for (let next = source.size > 0 ? read(0) : undefined; next; ) {
    const bytes = await next;
    signal?.throwIfAborted();
    buffer.set(bytes, held);
    held += bytes.length;
    at += bytes.length;
    next = at < source.size ? read(at) : undefined;

    let start = 0;
    while (next ? held - start >= splitter.max : start < held) {
      const end = splitter.split(buffer, start, held);
      list.add(hasher.sum(buffer.subarray(start, end)), end - start);
      start = end;
      if (list.span >= wanted) {
        yield list.done();
        signal?.throwIfAborted();
        list = list.next();
        wanted = Math.min(span, wanted * 2);
      }
    }
    buffer.copyWithin(0, start, held);
    held -= start;
    onScanned?.(at - held);
  }
  if (list.span > 0) yield list.done();
}

class ListBuilder {
  private bytes = new Uint8Array(64 * entrySize);
  private length = 0;
  span = 0;

  constructor(private readonly first: number, private readonly offset: number) {}

  add(digest: Uint8Array, size: number): void {
    if (this.length === this.bytes.length) {
      const grown = new Uint8Array(2 * this.bytes.length);
      grown.set(this.bytes);
      this.bytes = grown;
    }
    this.bytes.set(digest, this.length);
    new DataView(this.bytes.buffer).setUint32(this.length + digest.length, size);
    this.length += entrySize;
    this.span += size;
  }

  done(): ChunkList {
    return new ChunkList(this.first, this.offset, this.bytes.subarray(0, this.length));
  }

  next(): ListBuilder {
    return new ListBuilder(this.first + this.length / entrySize, this.offset + this.span);
  }
}
