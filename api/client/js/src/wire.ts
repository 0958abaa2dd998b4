import {digestSize} from './digest.js';

/** Media types of the binary forms; api/SESSIONS.md defines them. */
export const chunkListType = 'application/vnd.cairn.chunk-list';
export const chunksType = 'application/vnd.cairn.chunks';
export const bitmapType = 'application/vnd.cairn.bitmap';

/** Bytes of an entry of a chunk list: digest, size. */
export const entrySize = digestSize + 4;

/** Bytes before each chunk of a batch: digest, plain size, sent size. */
export const frameHeader = digestSize + 8;

/** One chunk of a content: where it lies and what it is. */
export interface Ref {
  digest: Uint8Array;
  offset: number;
  size: number;
}

/** A run of chunks, one after another, in the binary form of a chunk list. */
export class ChunkList {
  constructor(
    /** The place of the first in the whole list. */
    readonly first: number,
    /** Where the first begins in the content. */
    readonly offset: number,
    readonly bytes: Uint8Array,
  ) {
    if (bytes.length % entrySize !== 0) throw new RangeError(`chunk list of ${bytes.length} bytes`);
  }

  get count(): number {
    return this.bytes.length / entrySize;
  }

  *refs(): Generator<Ref> {
    const view = new DataView(this.bytes.buffer, this.bytes.byteOffset, this.bytes.byteLength);
    let offset = this.offset;
    for (let at = 0; at < this.bytes.length; at += entrySize) {
      const size = view.getUint32(at + digestSize);
      yield {digest: this.bytes.subarray(at, at + digestSize), offset, size};
      offset += size;
    }
  }
}

/** Reads bit i, the most significant first. Bits that are not there are zero. */
export function bit(bitmap: Uint8Array, i: number): boolean {
  return (bitmap[i >> 3] & (0x80 >> (i & 7))) !== 0;
}

/** What comes before a chunk that is sent as it is. */
export function header(digest: Uint8Array, size: number): Uint8Array<ArrayBuffer> {
  const out = new Uint8Array(frameHeader);
  out.set(digest);
  const view = new DataView(out.buffer, digestSize);
  view.setUint32(0, size);
  view.setUint32(4, size);
  return out;
}

/** Puts the chunk at place at of a batch, raw, and returns the place behind it. */
export function frame(batch: Uint8Array, at: number, digest: Uint8Array, chunk: Uint8Array): number {
  batch.set(header(digest, chunk.length), at);
  batch.set(chunk, at + frameHeader);
  return at + frameHeader + chunk.length;
}
