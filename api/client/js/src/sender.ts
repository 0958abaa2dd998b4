import {BatchSize} from './batch.js';
import {CairnError, SourceChangedError} from './errors.js';
import type {Source} from './source.js';
import type {Call, Transport} from './transport.js';
import {chunksType, frameHeader, headers, runs, type Ref} from './wire.js';

export interface SenderOptions {
  /** Requests under way at a time. */
  concurrency?: number;
  /** Bytes that the server takes in a request. */
  maxBatch: number;
  signal: AbortSignal;
  onSent: (bytes: number) => void;
}

const queued = 4 * 1024; // chunks that wait to be sent, before cutting waits
const remembered = 512 * 1024; // chunks that were queued, so that none is sent twice

/**
 * Sends chunks in batches, a few side by side. It holds places of chunks and
 * reads the bytes when their turn comes, so memory does not grow with what waits.
 * A batch that broke off is halved before it is tried again; the rest waits anew.
 */
export class Sender {
  private readonly queue: Ref[] = [];
  private head = 0;
  private readonly seen = new Set<number>();
  private readonly size = new BatchSize();
  private active = 0;
  private stopped = false;
  private failure?: {err: unknown};
  private readonly waiting: (() => void)[] = [];
  private readonly abort = new AbortController();
  private readonly onAbort = () => this.fail(this.options.signal.reason);

  constructor(private readonly transport: Transport, private readonly source: Source, private readonly path: string, private readonly options: SenderOptions) {
    options.signal.addEventListener('abort', this.onAbort, {once: true});
  }

  /** Queues a chunk and returns its size, or 0 when it was queued before. */
  add(ref: Ref): number {
    const view = new DataView(ref.digest.buffer, ref.digest.byteOffset);
    const key = view.getUint32(0) * 2 ** 21 + (view.getUint32(4) >>> 11); // 53 bits, which a number holds exactly
    if (this.seen.has(key)) return 0;
    if (this.seen.size >= remembered) this.seen.clear();
    this.seen.add(key);
    this.queue.push(ref);
    this.start();
    return ref.size;
  }

  /** Forgets what was queued, for a server that misses it. */
  forget(): void {
    this.seen.clear();
  }

  /** Waits until there is room in the queue. */
  async room(): Promise<void> {
    while (!this.failure && this.length > queued) await this.change();
    this.check();
  }

  /** Waits until everything is sent. */
  async drain(): Promise<void> {
    while (!this.failure && (this.length > 0 || this.active > 0)) await this.change();
    this.check();
  }

  /** Ends what is under way. */
  stop(): void {
    this.stopped = true;
    this.options.signal.removeEventListener('abort', this.onAbort);
    this.abort.abort();
  }

  private get length(): number {
    return this.queue.length - this.head;
  }

  private check(): void {
    if (this.failure) throw this.failure.err;
  }

  private change(): Promise<void> {
    return new Promise((resolve) => this.waiting.push(resolve));
  }

  private changed(): void {
    for (const resolve of this.waiting.splice(0)) resolve();
  }

  private fail(err: unknown): void {
    this.failure ??= {err};
    this.abort.abort(err);
    this.changed();
  }

  private start(): void {
    // Full batches start at once, others when nothing is under way.
    while (!this.failure && !this.stopped && this.active < (this.options.concurrency ?? 4) && this.length > 0) {
      this.active++;
      // A turn of its own lets the rest of a list be queued before the batch is taken.
      void Promise.resolve()
        .then(() => this.send(this.take()))
        .catch((err) => this.fail(err))
        .finally(() => {
          this.active--;
          this.start();
          this.changed();
        });
    }
  }

  // take returns the chunks of the next batch.
  private take(): Ref[] {
    const limit = Math.min(this.size.limit, this.options.maxBatch);
    const refs: Ref[] = [];
    let bytes = 0;
    while (this.length > 0) {
      const next = this.queue[this.head];
      if (refs.length > 0 && bytes + frameHeader + next.size > limit) break;
      bytes += frameHeader + next.size;
      refs.push(next);
      this.head++;
    }
    if (this.head > 4096 && this.head * 2 > this.queue.length) {
      this.queue.splice(0, this.head);
      this.head = 0;
    }
    return refs;
  }

  private async send(refs: Ref[]): Promise<void> {
    if (refs.length === 0) return;
    let began = performance.now();
    const call: Call<string> = {
      headers: {'Content-Type': chunksType},
      body: await this.body(refs),
      signal: this.abort.signal,
      again: async () => {
        // What a body is made of may have changed, which looks like a broken connection.
        await this.source.read(refs[0].offset, 1);
        this.size.broken(length(refs));
        if (refs.length > 1) {
          this.putBack(refs.splice(Math.ceil(refs.length / 2)));
          call.body = await this.body(refs);
        }
        began = performance.now();
      },
      read: (res) => res.text(),
    };
    try {
      await this.transport.send('POST', this.path + '/chunks', call);
    } catch (err) {
      if (err instanceof CairnError && err.code === 'chunk-digest-mismatch') throw new SourceChangedError({cause: err});
      throw err;
    }
    this.size.answered(length(refs), performance.now() - began);
    this.options.onSent(sum(refs));
  }

  // putBack queues chunks that were taken before all others.
  private putBack(refs: Ref[]): void {
    this.queue.splice(this.head, 0, ...refs);
    this.start();
  }

  private async body(refs: Ref[]): Promise<Blob | Uint8Array> {
    return this.source.slice ? this.compose(refs) : this.read(refs);
  }

  // compose makes the body of a batch of parts of the source, as few as may be:
  // browsers take long over each.
  private compose(refs: Ref[]): Blob {
    return new Blob([...runs(refs)].flatMap((run) => [headers(run), this.source.slice!(run[0].offset, sum(run))]));
  }

  // read makes the body of a batch.
  private async read(refs: Ref[]): Promise<Uint8Array> {
    const body = new Uint8Array(length(refs));
    let at = 0;
    for (const run of runs(refs)) {
      const head = headers(run);
      body.set(head, at);
      at += head.length;
      const bytes = await this.source.read(run[0].offset, sum(run));
      if (bytes.length !== sum(run)) throw new SourceChangedError();
      body.set(bytes, at);
      at += bytes.length;
    }
    return body;
  }
}

function sum(refs: Ref[]): number {
  return refs.reduce((n, r) => n + r.size, 0);
}

// length is that of a body with these chunks.
function length(refs: Ref[]): number {
  return refs.length * frameHeader + sum(refs);
}
