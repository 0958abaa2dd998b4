import {spawn, workers, type Port} from '#platform';
import {flatten, unflatten} from './errors.js';
import type {FromWorker, Task, ToWorker} from './line.js';
import {scan} from './scan.js';
import {runSession, type Job, type Progress, type StoredFile} from './session.js';
import {isPortable, openSource, type Content} from './source.js';
import {parseSplitter} from './splitter.js';
import type {Transport} from './transport.js';
import {ChunkList} from './wire.js';

const worthWorker = 1024 * 1024; // bytes: starting a worker takes longer than cutting less
const smallWindow = 1024 * 1024; // what the thread of a page reads and cuts in one go

export interface UploadRun {
  transport: Transport;
  worker: boolean;
  signal?: AbortSignal;
  onProgress?: (p: Progress) => void;
}

/** Uploads content in a worker, or in this thread where there is none or it would not pay. */
export async function upload(content: Content, job: Job, run: UploadRun): Promise<StoredFile> {
  run.signal?.throwIfAborted();
  const {getToken, fetch, ...transport} = run.transport.options;
  if (run.worker && !fetch && isPortable(content) && !isSmall(content)) {
    let file: StoredFile | undefined;
    const task: Task = {kind: 'upload', content, job, transport: {...transport, server: absolute(transport.server)}, tokens: getToken !== undefined};
    const began = await inWorker(task, run.signal, (message, port) => {
      if (message.type === 'progress') run.onProgress?.(message.progress);
      if (message.type === 'done') file = message.file;
      if (message.type === 'token') void answer(port, run.transport, message.stale);
    });
    if (began) return file!;
  }
  const source = await openSource(content);
  const signal = run.signal ?? new AbortController().signal;
  try {
    return await runSession(run.transport, source, {window: smallWindow, ...job}, {signal, onProgress: run.onProgress});
  } finally {
    await source.close?.();
  }
}

/** Cuts and hashes content in a worker where that pays, and hands its chunk list to take piece by piece. */
export async function cut(content: Content, splitter: string, take: (list: ChunkList) => void, options: {worker?: boolean; signal?: AbortSignal} = {}): Promise<void> {
  options.signal?.throwIfAborted();
  if (options.worker !== false && isPortable(content) && !isSmall(content)) {
    const began = await inWorker({kind: 'scan', content, splitter}, options.signal, (message) => {
      if (message.type === 'list') take(new ChunkList(message.first, message.offset, message.bytes));
    });
    if (began) return;
  }
  const source = await openSource(content);
  try {
    for await (const list of scan(source, parseSplitter(splitter), {window: smallWindow, signal: options.signal})) take(list);
  } finally {
    await source.close?.();
  }
}

// inWorker runs a task, and returns false when no worker could be had: there is
// none on this platform, or the page's policy or its bundler keeps it away.
function inWorker(task: Task, signal: AbortSignal | undefined, on: (message: FromWorker, port: Port) => void): Promise<boolean> {
  if (!workers) return Promise.resolve(false);
  return new Promise((resolve, reject) => {
    let port: Port;
    try {
      port = spawn();
    } catch {
      resolve(false);
      return;
    }
    const end = () => {
      port.close();
      signal?.removeEventListener('abort', abort);
    };
    const abort = () => {
      end();
      reject(signal!.reason);
    };
    signal?.addEventListener('abort', abort, {once: true});
    let ready = false;
    port.listen(
      (message: FromWorker) => {
        if (message.type === 'ready') {
          ready = true;
          try {
            port.post({type: 'start', task} satisfies ToWorker);
          } catch (err) {
            end();
            reject(err);
          }
          return;
        }
        if (message.type === 'failed') {
          end();
          reject(unflatten(message.error));
          return;
        }
        try {
          on(message, port);
        } catch (err) {
          end();
          reject(err);
          return;
        }
        if (message.type === 'done') {
          end();
          resolve(true);
        }
      },
      (err) => {
        end();
        if (ready) reject(err);
        else resolve(false);
      },
    );
  });
}

async function answer(port: Port, transport: Transport, stale?: string): Promise<void> {
  try {
    port.post({type: 'token', token: await transport.token(stale)} satisfies ToWorker);
  } catch (err) {
    port.post({type: 'token', error: flatten(err)} satisfies ToWorker);
  }
}

function isSmall(content: Content): boolean {
  if (content instanceof Blob) return content.size < worthWorker;
  return 'byteLength' in content && content.byteLength < worthWorker;
}

// A worker's own URL is that of a script: what is relative is so to the page.
function absolute(server = ''): string {
  if (typeof location === 'undefined') return server;
  return new URL(server || '/', location.href).href;
}
