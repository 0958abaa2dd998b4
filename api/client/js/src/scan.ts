import {newHasher} from './digest.js';
import {SourceChangedError} from './errors.js';
import {windows, type Source} from './source.js';
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
const room = 2 * 1024 * 1024; // beside the longest chunk: what is not cut yet is rarely moved

/**
 * Cuts and hashes content, and yields the list of its chunks piece by piece. It
 * holds a few MiB in memory, and two windows of a source that has no pieces.
 */
export async function* scan(source: Source, splitter: Splitter, options: ScanOptions = {}): AsyncGenerator<ChunkList> {
  const {window = 8 * 1024 * 1024, span = 32 * 1024 * 1024, signal, onScanned} = options;
  const hasher = await newHasher();
  const buffer = new Uint8Array(Math.min(source.size, room + splitter.max));

  let list = new ListBuilder(0, 0);
  let wanted = Math.min(span, firstSpan);
  let start = 0, held = 0; // of what lies in the buffer and is not cut yet
  let at = 0; // bytes read
  for await (let piece of source.pieces?.() ?? windows(source, window)) {
    signal?.throwIfAborted();
    at += piece.length;
    if (at > source.size) throw new SourceChangedError();
    while (piece.length > 0) {
      if (held + piece.length > buffer.length) {
        buffer.copyWithin(0, start, held);
        held -= start;
        start = 0;
      }
      const part = piece.subarray(0, buffer.length - held);
      buffer.set(part, held);
      held += part.length;
      piece = piece.subarray(part.length);

      const last = at === source.size && piece.length === 0;
      while (last ? start < held : held - start >= splitter.max) {
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
    }
    onScanned?.(at - (held - start));
  }
  if (at < source.size) throw new SourceChangedError();
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
