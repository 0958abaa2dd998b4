import {SourceChangedError} from './errors.js';
import {openPath} from '#platform';

/** Content that can be read at any place, again and again. A custom one is read in the calling thread. */
export interface Source {
  /** Length in bytes, which does not change. */
  readonly size: number;
  /** Returns exactly the bytes [offset, offset+length), in memory that is the caller's. */
  read(offset: number, length: number): Promise<Uint8Array>;
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

class BlobSource implements Source {
  constructor(private readonly blob: Blob) {}

  get size(): number {
    return this.blob.size;
  }

  async read(offset: number, length: number): Promise<Uint8Array> {
    let bytes: Uint8Array;
    try {
      bytes = new Uint8Array(await this.blob.slice(offset, offset + length).arrayBuffer());
    } catch (err) {
      // Browsers refuse to read a File that is no longer what was chosen.
      if ((err as Error)?.name === 'NotReadableError') throw new SourceChangedError({cause: err});
      throw err;
    }
    if (bytes.length !== length) throw new SourceChangedError();
    return bytes;
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
