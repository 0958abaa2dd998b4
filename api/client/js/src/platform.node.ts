import {open} from 'node:fs/promises';
import {parentPort, Worker} from 'node:worker_threads';
import {SourceChangedError} from './errors.js';
import type {Port} from './platform.js';
import type {Source} from './source.js';

export type {Port} from './platform.js';

export function spawn(): Port {
  const w = new Worker(new URL('./worker.js', import.meta.url), {name: 'cairn'});
  return {
    post: (message) => w.postMessage(message),
    listen: (onMessage, onError) => {
      w.on('message', onMessage);
      w.on('error', onError);
      w.on('messageerror', onError);
    },
    close: () => void w.terminate(),
  };
}

export const workers = true;

export function parent(): Port {
  return {
    post: (message) => parentPort!.postMessage(message),
    listen: (onMessage) => void parentPort!.on('message', onMessage),
    close: () => parentPort!.close(),
  };
}

export const blobBodies = false;

export async function openPath(path: string): Promise<Source> {
  const file = await open(path);
  const before = await file.stat();
  if (!before.isFile()) {
    await file.close();
    throw new TypeError(`${path} is no regular file`);
  }
  return {
    size: before.size,
    async read(offset, length) {
      const bytes = new Uint8Array(length);
      for (let n = 0; n < length; ) {
        const {bytesRead} = await file.read(bytes, n, length - n, offset + n);
        if (bytesRead === 0) throw new SourceChangedError();
        n += bytesRead;
      }
      const now = await file.stat();
      if (now.size !== before.size || now.mtimeMs !== before.mtimeMs) throw new SourceChangedError();
      return bytes;
    },
    close: () => file.close(),
  };
}
