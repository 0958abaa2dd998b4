import {hex, newHasher, type Hasher} from './digest.js';
import {IntegrityError} from './errors.js';
import {cut} from './run.js';
import {openSource, type Content, type Source} from './source.js';
import {backoff, sleep, type Transport} from './transport.js';
import {ChunkList, chunkListType, type Ref} from './wire.js';

export interface DownloadOptions {
  /** Number of a version; the current one by default. */
  version?: number;
  /** An older copy of the content: only what differs from it is fetched. */
  seed?: Content;
  /** Checks every chunk against its digest before its bytes are handed on. With a seed that is always so. */
  verify?: boolean;
  signal?: AbortSignal;
  onProgress?: (p: {size: number; done: number; fetched: number}) => void;
  /** False cuts the seed in the calling thread. */
  worker?: boolean;
}

/** Content on its way. A connection that breaks is taken up again where it broke off. */
export interface Download {
  size: number;
  stream: ReadableStream<Uint8Array>;
}

const windowSize = 8 * 1024 * 1024;
const concurrency = 4;
const triedAgain = 8; // times in a row without a byte

export async function download(transport: Transport, path: string, options: DownloadOptions): Promise<Download> {
  if (options.seed !== undefined || options.verify) return byChunks(transport, path, options);
  const first = await open(transport, path + '/download', {version: options.version}, 0, '', options.signal);
  const size = Number(first.headers.get('Content-Length') ?? NaN);
  return {size, stream: streamOf(counted(plain(transport, path + '/download', first, size, options), size, options))};
}

function open(transport: Transport, path: string, query: {version?: number}, at: number, etag: string, signal?: AbortSignal): Promise<Response> {
  return transport.send('GET', path, {
    query,
    headers: at > 0 ? {Range: `bytes=${at}-`, 'If-Match': etag} : {},
    signal,
    read: (res) => res,
  });
}

async function* plain(transport: Transport, path: string, res: Response, size: number, {version, signal}: DownloadOptions): AsyncGenerator<Uint8Array> {
  const etag = res.headers.get('ETag') ?? '';
  let at = 0;
  for (let failures = 0; ; ) {
    const reader = res.body!.getReader();
    const abort = () => void reader.cancel(signal!.reason).catch(() => {});
    signal?.addEventListener('abort', abort, {once: true});
    let broken: unknown;
    try {
      for (;;) {
        const {done, value} = await reader.read();
        signal?.throwIfAborted();
        if (done) break;
        at += value.length;
        failures = 0;
        yield value;
      }
    } catch (err) {
      broken = err;
    } finally {
      signal?.removeEventListener('abort', abort);
      // Whoever wants no more ends the request too.
      if (at !== size) reader.cancel().catch(() => {});
    }
    signal?.throwIfAborted();
    if (at === size || (!broken && !(at < size))) return;
    if (!etag || ++failures > triedAgain) throw broken ?? new IntegrityError(`the content ended after ${at} of ${size} bytes`);
    await sleep(backoff(failures), signal);
    res = await open(transport, path, {version}, at, etag, signal);
    if (at > 0 && res.status !== 206) throw new IntegrityError('the server does not send ranges: the download cannot be taken up again');
    if (at > 0 && !res.headers.get('Content-Range')?.startsWith(`bytes ${at}-`)) throw new IntegrityError('the server sends another range than was asked for');
  }
}

// byChunks takes what it can from the seed and fetches the rest by ranges of the
// one version that the chunk list is of. Memory is two windows and the list.
async function byChunks(transport: Transport, path: string, options: DownloadOptions): Promise<Download> {
  const manifest = await transport.send('GET', path + '/manifest', {
    query: {version: options.version},
    headers: {Accept: chunkListType},
    signal: options.signal,
    read: async (res) => ({
      list: new ChunkList(0, 0, new Uint8Array(await res.arrayBuffer())),
      chunker: res.headers.get('X-Chunker') ?? '',
      id: res.headers.get('X-Manifest-Id') ?? '',
    }),
  });
  let size = 0;
  const held = new Map<string, number>(); // digest of a chunk to its place in the seed, or -1
  for (const ref of manifest.list.refs()) {
    size += ref.size;
    held.set(hex(ref.digest), -1);
  }
  let source: Source | undefined;
  if (options.seed !== undefined) {
    source = await openSource(options.seed);
    await cut(options.seed, manifest.chunker, (list) => {
      for (const ref of list.refs()) {
        const digest = hex(ref.digest);
        if (held.get(digest) === -1) held.set(digest, ref.offset);
      }
    }, options);
  }
  const job = new ChunkDownload(transport, path.replace(/[^/]+$/, manifest.id) + '/download', await newHasher(), held, source, options.signal);
  return {size, stream: streamOf(counted(job.windows(manifest.list), size, options, () => job.fetched))};
}

class ChunkDownload {
  fetched = 0;

  constructor(
    private readonly transport: Transport,
    private readonly path: string,
    private readonly hasher: Hasher,
    private readonly held: Map<string, number>,
    private readonly source: Source | undefined,
    private readonly signal: AbortSignal | undefined,
  ) {}

  async *windows(list: ChunkList): AsyncGenerator<Uint8Array> {
    try {
      let next: Promise<Uint8Array> | undefined;
      for (const refs of grouped(list)) {
        const filled = this.fill(refs);
        filled.catch(() => {}); // it is told when it is waited for
        if (next) yield await next;
        next = filled;
      }
      if (next) yield await next;
    } finally {
      await this.source?.close?.();
    }
  }

  private async fill(refs: Ref[]): Promise<Uint8Array> {
    const begin = refs[0].offset;
    const window = new Uint8Array(refs.reduce((n, r) => n + r.size, 0));
    const place = (r: Ref) => window.subarray(r.offset - begin, r.offset - begin + r.size);
    const copies: [Ref, Ref][] = [];
    const firsts = new Map<string, Ref>();
    let missing: Ref[] = [];
    for (const ref of refs) {
      const digest = hex(ref.digest);
      const first = firsts.get(digest);
      if (first) {
        copies.push([ref, first]);
        continue;
      }
      firsts.set(digest, ref);
      if (!(await this.fromSeed(digest, ref, place(ref)))) missing.push(ref);
    }
    const runs = contiguous(missing);
    const worker = async () => {
      for (let run = runs.shift(); run; run = runs.shift()) await this.fetch(run, place);
    };
    await Promise.all(Array.from({length: concurrency}, worker));
    for (const [to, from] of copies) place(to).set(place(from));
    return window;
  }

  private async fromSeed(digest: string, ref: Ref, to: Uint8Array): Promise<boolean> {
    const at = this.held.get(digest) ?? -1;
    if (at < 0 || !this.source) return false;
    const bytes = await this.source.read(at, ref.size).catch(() => undefined);
    if (!bytes || hex(this.hasher.sum(bytes)) !== digest) return false; // the seed has changed: fetch it
    to.set(bytes);
    return true;
  }

  private async fetch(run: Ref[], place: (r: Ref) => Uint8Array): Promise<void> {
    const begin = run[0].offset;
    const end = run[run.length - 1].offset + run[run.length - 1].size;
    const bytes = await this.transport.send('GET', this.path, {
      headers: {Range: `bytes=${begin}-${end - 1}`},
      signal: this.signal,
      read: async (res) => {
        if (res.status !== 206) throw new Error('the server does not send ranges');
        const bytes = new Uint8Array(await res.arrayBuffer());
        if (bytes.length !== end - begin) throw new Error(`${bytes.length} bytes came of ${end - begin}`);
        for (const r of run) {
          const got = hex(this.hasher.sum(bytes.subarray(r.offset - begin, r.offset - begin + r.size)));
          if (got !== hex(r.digest)) throw new IntegrityError(`the bytes at ${r.offset} have the digest ${got}, not ${hex(r.digest)}`);
        }
        return bytes;
      },
    });
    this.fetched += bytes.length;
    for (const r of run) place(r).set(bytes.subarray(r.offset - begin, r.offset - begin + r.size));
  }
}

// grouped yields the chunks of a list in runs of about a window.
function* grouped(list: ChunkList): Generator<Ref[]> {
  let refs: Ref[] = [];
  let bytes = 0;
  for (const ref of list.refs()) {
    refs.push(ref);
    bytes += ref.size;
    if (bytes >= windowSize) {
      yield refs;
      refs = [];
      bytes = 0;
    }
  }
  if (refs.length > 0) yield refs;
}

function contiguous(refs: Ref[]): Ref[][] {
  const runs: Ref[][] = [];
  let end = -1;
  for (const ref of refs) {
    if (ref.offset === end) runs[runs.length - 1].push(ref);
    else runs.push([ref]);
    end = ref.offset + ref.size;
  }
  return runs;
}

async function* counted(parts: AsyncGenerator<Uint8Array>, size: number, {onProgress}: DownloadOptions, fetched?: () => number): AsyncGenerator<Uint8Array> {
  let done = 0;
  for await (const part of parts) {
    done += part.length;
    yield part;
    onProgress?.({size, done, fetched: fetched ? fetched() : done});
  }
}

function streamOf(parts: AsyncGenerator<Uint8Array>): ReadableStream<Uint8Array> {
  return new ReadableStream({
    async pull(controller) {
      const {done, value} = await parts.next();
      if (done) controller.close();
      else controller.enqueue(value);
    },
    async cancel() {
      await parts.return(undefined);
    },
  }, {highWaterMark: 0});
}
