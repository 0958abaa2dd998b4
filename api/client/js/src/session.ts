import {CairnError, SourceChangedError} from './errors.js';
import {newHasher, hex} from './digest.js';
import type {components, operations} from './openapi.js';
import {scan} from './scan.js';
import {Sender} from './sender.js';
import type {Source} from './source.js';
import {parseSplitter, type Splitter} from './splitter.js';
import type {Transport} from './transport.js';
import {bit, bitmapType, ChunkList, chunkListType, entrySize} from './wire.js';

/** A file as the server tells of it. */
export type StoredFile = components['schemas']['File'];
type OpenSession = operations['newSession']['requestBody']['content']['application/json'];
type Opened = components['schemas']['Session'];

/** What becomes of an upload. It is plain data, as it travels to the worker. */
export interface Job {
  bucket: string;
  open: OpenSession;
  concurrency?: number;
  /** Bytes read and cut at once. */
  window?: number;
}

/** How an upload stands, in bytes of the content. */
export interface Progress {
  /** scanning: content is cut and offered, and what is missing is sent beside that; sending: all is cut; committing: all is sent. */
  phase: 'scanning' | 'sending' | 'committing' | 'done';
  /** Of the content. */
  size: number;
  /** Cut and hashed so far. */
  scanned: number;
  /** That must travel, as far as is known: final from phase sending on. */
  missing: number;
  /** That the server has received and made durable. */
  sent: number;
  /** Of the content that the server has: it had them, or they were sent. done / size is what a bar shows. */
  done: number;
  /** The upload, u_…, once the server knows it: for dropUpload. */
  upload?: string;
}

export interface Watch {
  signal: AbortSignal;
  onProgress?: (p: Progress) => void;
}

const sessionsTried = 3; // when the server forgets one
const commitsTried = 8;
const progressEvery = 100; // milliseconds

/** Uploads content by chunk session: cuts it, offers the list, sends what is missing, commits. */
export async function runSession(transport: Transport, source: Source, job: Job, watch: Watch): Promise<StoredFile> {
  for (let left = sessionsTried; ; ) {
    const session = new Session(transport, source, job, watch);
    try {
      return await session.run();
    } catch (err) {
      // The session has expired, or somebody ended it. What it received may be there still.
      if (!(err instanceof CairnError && err.code === 'upload-not-found') || --left === 0) throw err;
    }
  }
}

class Session {
  private path = '';
  private splitter!: Splitter;
  private sender!: Sender;
  private list: Uint8Array = new Uint8Array(32); // a digest over the list, to know the content again
  private progress: Progress;
  private told = 0;
  private listed = 0; // bytes of which the server has said whether it has them

  constructor(private readonly transport: Transport, private readonly source: Source, private readonly job: Job, private readonly watch: Watch) {
    this.progress = {phase: 'scanning', size: source.size, scanned: 0, missing: 0, sent: 0, done: 0};
  }

  async run(): Promise<StoredFile> {
    this.tell(true);
    const base = `/api/files/${encodeURIComponent(this.job.bucket)}/_sessions`;
    const opened = await this.transport.send<Opened>('POST', base, {json: {...this.job.open, size: this.source.size}, signal: this.watch.signal, read: (res) => res.json()});
    this.path = `${base}/${opened.id}`;
    this.progress.upload = opened.id;
    this.tell(true);
    this.splitter = parseSplitter(opened.chunker);
    this.sender = new Sender(this.transport, this.source, this.path, {
      concurrency: this.job.concurrency,
      maxBatch: opened.limits.max_batch,
      signal: this.watch.signal,
      onSent: (bytes) => {
        this.progress.sent += bytes;
        this.tell();
      },
    });
    try {
      this.list = await this.offer((list) => this.append(list));
      for (let left = commitsTried; ; ) {
        const file = await this.commit();
        if (file) {
          this.phase('done');
          return file;
        }
        if (--left === 0) throw new Error('the server asks for the same chunks again and again');
        await this.resend();
      }
    } finally {
      this.sender.stop();
    }
  }

  // offer cuts the content and sends of it what ask says is missing, list by
  // list. While the answer for one is on its way the next is cut. It returns a
  // digest over the whole list.
  private async offer(ask: (list: ChunkList) => Promise<Uint8Array>): Promise<Uint8Array> {
    this.progress.scanned = 0;
    this.phase('scanning');
    const hasher = await newHasher();
    let sum: Uint8Array = new Uint8Array(32);
    let asked: Promise<void> = Promise.resolve();
    const lists = scan(this.source, this.splitter, {
      window: this.job.window,
      signal: this.watch.signal,
      onScanned: (bytes) => {
        this.progress.scanned = bytes;
        this.tell();
      },
    });
    for await (const list of lists) {
      const linked = new Uint8Array(sum.length + list.bytes.length);
      linked.set(sum);
      linked.set(list.bytes, sum.length);
      sum = hasher.sum(linked);
      await asked;
      asked = ask(list).then((missing) => this.want(list, missing));
      asked.catch(() => {}); // it is told when it is waited for
      await this.sender.room();
    }
    await asked;
    this.phase('sending');
    await this.sender.drain();
    return sum;
  }

  private want(list: ChunkList, missing: Uint8Array): void {
    let i = 0;
    for (const ref of list.refs()) {
      if (bit(missing, i++)) this.progress.missing += this.sender.add(ref);
      this.listed = Math.max(this.listed, ref.offset + ref.size);
    }
    this.tell();
  }

  // append offers a piece of the list, and returns the bitmap of what is missing of it.
  private async append(list: ChunkList): Promise<Uint8Array> {
    const post = (from: number) =>
      this.transport.send('POST', this.path + '/list', {
        query: {at: list.first + from},
        headers: {'Content-Type': chunkListType, Accept: bitmapType},
        body: list.bytes.subarray(from * entrySize),
        signal: this.watch.signal,
        read: async (res) => new Uint8Array(await res.arrayBuffer()),
      });
    try {
      return await post(0);
    } catch (err) {
      // An answer was lost, or a request broke off: the server has listed the piece, or its beginning.
      const listed = err instanceof CairnError && err.code === 'list-offset-mismatch' ? Number(err.details.listed_chunks) - list.first : NaN;
      if (!(listed > 0 && listed <= list.count)) throw err;
      if (listed < list.count) await post(listed);
    }
    const all = await this.missing();
    const out = new Uint8Array(Math.ceil(list.count / 8));
    for (let i = 0; i < list.count; i++) if (bit(all, list.first + i)) out[i >> 3] |= 0x80 >> (i & 7);
    return out;
  }

  private missing(): Promise<Uint8Array> {
    return this.transport.send('GET', this.path + '/missing', {
      headers: {Accept: bitmapType},
      signal: this.watch.signal,
      read: async (res) => new Uint8Array(await res.arrayBuffer()),
    });
  }

  // commit makes the file, or returns nothing when chunks are missing.
  private async commit(): Promise<StoredFile | undefined> {
    this.phase('committing');
    try {
      return await this.transport.send<StoredFile>('POST', this.path + '/commit', {signal: this.watch.signal, read: (res) => res.json()});
    } catch (err) {
      if (err instanceof CairnError && err.code === 'chunks-missing') return undefined;
      throw err;
    }
  }

  // resend sends what the server has come to miss. The content is cut once
  // more, so that nobody needs to hold the list of a long one.
  private async resend(): Promise<void> {
    this.sender.forget();
    const all = await this.missing();
    const sum = await this.offer(async (list) => {
      const out = new Uint8Array(Math.ceil(list.count / 8));
      for (let i = 0; i < list.count; i++) if (bit(all, list.first + i)) out[i >> 3] |= 0x80 >> (i & 7);
      return out;
    });
    if (hex(sum) !== hex(this.list)) throw new SourceChangedError();
  }

  private phase(phase: Progress['phase']): void {
    this.progress.phase = phase;
    this.tell(true);
  }

  private tell(now = false): void {
    const time = Date.now();
    if (!now && time - this.told < progressEvery) return;
    this.told = time;
    this.progress.done = this.listed - (this.progress.missing - this.progress.sent);
    this.watch.onProgress?.({...this.progress});
  }
}
