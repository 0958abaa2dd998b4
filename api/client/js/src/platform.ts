import type {Source} from './source.js';

/** One end of the line between a client and its worker. */
export interface Port {
  post(message: unknown): void;
  listen(onMessage: (message: any) => void, onError: (err: Error) => void): void;
  close(): void;
}

/** Starts a worker. Bundlers know this form, and make worker.js an entry of their own. */
export function spawn(): Port {
  const w = new Worker(new URL('./worker.js', import.meta.url), {type: 'module', name: 'cairn'});
  return {
    post: (message) => w.postMessage(message),
    listen: (onMessage, onError) => {
      w.onmessage = (e) => onMessage(e.data);
      w.onerror = (e) => {
        e.preventDefault();
        onError(new Error(e.message || 'the worker could not be loaded'));
      };
      w.onmessageerror = () => onError(new Error('a message to or from the worker was lost'));
    },
    close: () => w.terminate(),
  };
}

/** Whether this platform has workers. */
export const workers = typeof Worker === 'function';

/** The end of the line that a worker holds. */
export function parent(): Port {
  return {
    post: (message) => self.postMessage(message),
    listen: (onMessage) => {
      self.onmessage = (e) => onMessage(e.data);
    },
    close: () => self.close(),
  };
}

/** Whether a request's body had better be made of parts of a File, which the browser reads then: no byte of it passes through the page. */
export const blobBodies = true;

export async function openPath(path: string): Promise<Source> {
  throw new TypeError(`${path}: paths can be read in Node only`);
}
