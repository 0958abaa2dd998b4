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

const longestRun = 4096; // chunks whose bytes may come together

/** Splits a batch into runs of chunks that lie side by side in the content. */
export function* runs(refs: Ref[]): Generator<Ref[]> {
  let begin = 0;
  for (let i = 1; i <= refs.length; i++) {
    if (i < refs.length && i - begin < longestRun && refs[i].offset === refs[i - 1].offset + refs[i - 1].size) continue;
    yield refs.slice(begin, i);
    begin = i;
  }
}

/** What comes before the bytes of a run of chunks, which are sent as they lie. */
export function headers(run: Ref[]): Uint8Array<ArrayBuffer> {
  const out = new Uint8Array(run.length * frameHeader);
  const view = new DataView(out.buffer);
  run.forEach((ref, i) => {
    const at = i * frameHeader;
    out.set(ref.digest, at);
    view.setUint32(at + digestSize, ref.size);
    view.setUint32(at + digestSize + 4, i === run.length - 1 ? ref.size : 0); // 0: the bytes come later
  });
  return out;
}
