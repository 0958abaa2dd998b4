import {download, type Download, type DownloadOptions} from './download.js';
import {openHost, type HostKeeper, type HostOptions, type HostSession, type Reference} from './host.js';
import type {components, operations} from './openapi.js';
import {upload} from './run.js';
import type {Job, Progress, StoredFile} from './session.js';
import type {Content} from './source.js';
import {Transport, type Call, type TransportOptions} from './transport.js';
import type {AnswerOf, JSONOf, QueryOf} from './types.js';

export type FileList = components['responses']['Files']['content']['application/json'];
export type ListOptions = QueryOf<operations['list']> & Signal;
export type Patch = components['schemas']['Patch'];
export type CopyOptions = JSONOf<operations['copy']>;
export type SignOptions = JSONOf<operations['sign']>;
export type SignUploadOptions = JSONOf<operations['signUpload']>;
export type SignedURL = components['schemas']['SignedURL'];
export type Grant = components['schemas']['Grant'];
export type Capabilities = AnswerOf<operations['capabilities']>;
export type ServerCapabilities = AnswerOf<operations['serverCapabilities']>;
export type Usage = AnswerOf<operations['usage']>;
export type Diff = AnswerOf<operations['diff']>;
export type UploadState = components['schemas']['Session'];
export type PreviewOptions = QueryOf<operations['preview']> & Signal;

/** A range of a file (f_…, its current version) or of a version (m_…), or bytes. */
export type Piece = {file: string; bucket?: string; offset?: number; length?: number} | {data: Uint8Array};
export type Composition = Omit<JSONOf<operations['compose']>, 'pieces'> & {pieces: Piece[]};

/** Bytes of an edit. A string is sent as UTF-8. */
export type EditBytes = Blob | Uint8Array | string;

export interface Signal {
  signal?: AbortSignal;
}

export interface Condition extends Signal {
  /** The root (checksums.root) that the current version must have; * is any. */
  ifMatch?: string;
}

export interface ClientOptions extends TransportOptions {
  /** False runs uploads in the calling thread. */
  worker?: boolean;
}

export interface UploadOptions extends Condition {
  /** Of the new file. A File's own name by default. */
  name?: string;
  folder?: string;
  /** The file, f_…, that the content becomes a version of, in place of a name. Only what differs from it travels. */
  fileId?: string;
  mimeType?: string;
  metadata?: Record<string, unknown>;
  tags?: string[];
  /** Cache-Control of the content: max-age=3600. */
  cacheControl?: string;
  /** What to do where the name is taken: take another one (new), make a version, or fail. */
  onConflict?: 'new' | 'version' | 'fail';
  /** Makes no version of the same content. */
  skipUnchanged?: boolean;
  digests?: ('sha256' | 'blake3' | 'md5' | 'none')[];
  /** Files, versions and own uploads that the content may be like. */
  bases?: string[];
  onProgress?: (p: Progress) => void;
  /** Requests with chunks under way at a time. 4 by default. */
  concurrency?: number;
  /** False runs this upload in the calling thread. */
  worker?: boolean;
}

/** A client of a Cairn server. */
export class Client {
  private readonly transport: Transport;

  constructor(private readonly options: ClientOptions = {}) {
    this.transport = new Transport(options);
  }

  /**
   * Stores content as a file or a version. Only chunks that the server does not know as yours travel. After
   * an abort, a reload or a crash upload the same content again: what has arrived before is not sent again.
   */
  async upload(bucket: string, content: Content, options: UploadOptions = {}): Promise<StoredFile> {
    const file = typeof File !== 'undefined' && content instanceof File ? content : undefined;
    const path = 'path' in content ? content.path : undefined;
    const job: Job = {
      bucket,
      concurrency: options.concurrency,
      open: {
        ...(options.fileId === undefined ? {name: options.name ?? file?.name ?? path?.split(/[\\/]/).pop()} : {file_id: options.fileId}),
        folder: options.folder,
        mime_type: options.mimeType ?? (content instanceof Blob && content.type ? content.type : undefined),
        metadata: options.metadata as Record<string, never>,
        tags: options.tags,
        cache_control: options.cacheControl,
        on_conflict: options.fileId === undefined ? options.onConflict : undefined,
        if_match: options.ifMatch,
        skip_unchanged: options.skipUnchanged,
        digests: options.digests,
        bases: options.bases,
      },
    };
    if (!job.open.name && !job.open.file_id) throw new TypeError('upload: want name or fileId');
    return upload(content, job, {transport: this.transport, worker: options.worker ?? this.options.worker ?? true, signal: options.signal, onProgress: options.onProgress});
  }

  /** Reads the content of a file (f_…) or of a version (m_…). */
  download(bucket: string, id: string, options: DownloadOptions = {}): Promise<Download> {
    return download(this.transport, at(bucket, id), {worker: this.options.worker, ...options});
  }

  /** Lists a page of a bucket, in the order of paths. */
  list(bucket: string, {signal, ...query}: ListOptions = {}): Promise<FileList> {
    return this.json('GET', at(bucket), {query, signal});
  }

  /** Lists all of a bucket, page after page. */
  async *files(bucket: string, options: ListOptions = {}): AsyncGenerator<StoredFile> {
    for (let cursor = options.cursor; ; ) {
      const page = await this.list(bucket, {...options, cursor});
      yield* page.files;
      if (!page.next_cursor) return;
      cursor = page.next_cursor;
    }
  }

  /** Describes a file, or one of its versions. */
  stat(bucket: string, id: string, {signal, ...query}: QueryOf<operations['stat']> & Signal = {}): Promise<StoredFile> {
    return this.json('GET', at(bucket, id), {query, signal});
  }

  /** Describes the active file with a path: folder and name joined by a slash. */
  async statPath(bucket: string, path: string, {signal, ...query}: Omit<QueryOf<operations['atPath']>, 'as'> & Signal = {}): Promise<StoredFile> {
    return this.json('GET', atPath(bucket, path), {query: {...query, as: 'json'}, signal});
  }

  /** The stable URL of the file with a path: for a link, or with as=view for an image. It begins with the client's server. */
  pathURL(bucket: string, path: string): string {
    return this.transport.url(atPath(bucket, path));
  }

  /** Changes what is known of a file. */
  update(bucket: string, id: string, patch: Patch, options: Condition = {}): Promise<StoredFile> {
    return this.json('PATCH', at(bucket, id), {json: patch, headers: condition(options), signal: options.signal, once: options.ifMatch !== undefined});
  }

  /** Lists the versions of a file, the newest first. */
  async versions(bucket: string, id: string, {signal}: Signal = {}): Promise<StoredFile[]> {
    const files: StoredFile[] = [];
    for (let cursor: string | undefined; ; ) {
      const page: FileList = await this.json('GET', at(bucket, id, 'versions'), {query: {cursor, limit: 1000}, signal});
      files.push(...page.files);
      if (!page.next_cursor) return files;
      cursor = page.next_cursor;
    }
  }

  /** Compares version n with an earlier one, by default the one before. */
  diff(bucket: string, id: string, n: number, {signal, ...query}: QueryOf<operations['diff']> & Signal = {}): Promise<Diff> {
    return this.json('GET', at(bucket, id, 'versions', String(n), 'diff'), {query, signal});
  }

  /** Makes version n the current one again, as a version of its own. */
  restoreVersion(bucket: string, id: string, n: number, {signal}: Signal = {}): Promise<StoredFile> {
    return this.json('POST', at(bucket, id, 'versions', String(n), 'restore'), {signal, once: true});
  }

  /** Moves a file to the trash, or removes a version (m_…) for good. */
  async delete(bucket: string, id: string, {permanent, ...options}: {permanent?: boolean} & Condition = {}): Promise<void> {
    await this.transport.send('DELETE', at(bucket, id), {query: {permanent}, headers: condition(options), signal: options.signal, read: (res) => res.text()});
  }

  /** Takes a file out of the trash. */
  restore(bucket: string, id: string, {signal}: Signal = {}): Promise<StoredFile> {
    return this.json('POST', at(bucket, id, 'restore'), {signal, once: true});
  }

  /** Makes a file with the same content. Within one backend no data moves. */
  copy(bucket: string, id: string, to: CopyOptions = {}, {signal}: Signal = {}): Promise<StoredFile> {
    return this.json('POST', at(bucket, id, 'copy'), {json: to, headers: {'Idempotency-Key': unique()}, signal});
  }

  /** Makes a version with more bytes at the end. Many bytes are better uploaded as a version, with fileId. */
  append(bucket: string, id: string, bytes: EditBytes, options: Condition = {}): Promise<StoredFile> {
    return this.edit('POST', at(bucket, id, 'append'), options, {body: bytes});
  }

  /** Makes a version with other bytes from offset on, which may reach beyond the end. */
  async overwrite(bucket: string, id: string, offset: number, bytes: EditBytes, options: Condition = {}): Promise<StoredFile> {
    const body = typeof bytes === 'string' ? new TextEncoder().encode(bytes) : bytes;
    const size = body instanceof Blob ? body.size : body.byteLength;
    if (size === 0) throw new TypeError('overwrite: want at least one byte');
    return this.edit('PATCH', at(bucket, id, 'content'), options, {body, headers: {'Content-Range': `bytes ${offset}-${offset + size - 1}/*`}});
  }

  /** Makes a version of the first bytes. */
  truncate(bucket: string, id: string, size: number, options: Condition = {}): Promise<StoredFile> {
    return this.edit('POST', at(bucket, id, 'truncate'), options, {json: {size}});
  }

  /** Makes a file, or a version of one, of ranges of others and of bytes, 1 MiB at most. Within one backend no data moves. */
  compose(bucket: string, {pieces, ...to}: Composition, options: Condition = {}): Promise<StoredFile> {
    const json = {...to, pieces: pieces.map((p) => ('data' in p ? {data: base64(p.data)} : p))};
    return this.edit('POST', at(bucket, '_compose'), options, {json});
  }

  /** Makes an image of one that is stored, where the server can. */
  preview(bucket: string, id: string, {signal, ...query}: PreviewOptions = {}): Promise<Blob> {
    return this.transport.send('GET', at(bucket, id, 'preview'), {query, signal, read: (res) => res.blob()});
  }

  /** Signs a URL that opens the file, or takes a version of it, without a token. */
  sign(bucket: string, id: string, options: Partial<SignOptions> = {}, {signal}: Signal = {}): Promise<SignedURL> {
    return this.json('POST', at(bucket, id, 'sign'), {json: options, signal});
  }

  /** Signs a URL that takes a new file. */
  signUpload(bucket: string, options: SignUploadOptions = {}, {signal}: Signal = {}): Promise<SignedURL> {
    return this.json('POST', at(bucket, '_sign-upload'), {json: options, signal});
  }

  /** Lists the grants, which are what signed URLs stand for: your own, to operators all. */
  async grants(bucket: string, {signal}: Signal = {}): Promise<Grant[]> {
    return (await this.json<AnswerOf<operations['grants']>>('GET', at(bucket, '_grants'), {signal})).grants;
  }

  /** Describes a grant. */
  grant(bucket: string, id: string, {signal}: Signal = {}): Promise<Grant> {
    return this.json('GET', at(bucket, '_grants', id), {signal});
  }

  /** Ends a grant: its signed URL is worth nothing from now on. */
  async revoke(bucket: string, id: string, {signal}: Signal = {}): Promise<void> {
    await this.transport.send('DELETE', at(bucket, '_grants', id), {signal, read: (res) => res.text()});
  }

  /** Tells how an upload stands; its ID is in what onProgress is told. */
  uploadState(bucket: string, upload: string, {signal}: Signal = {}): Promise<UploadState> {
    return this.json('GET', at(bucket, '_sessions', upload), {signal});
  }

  /** Gives up an upload that was aborted: what the server has received of it is forgotten. A file that it has become stays. */
  async dropUpload(bucket: string, upload: string, {signal}: Signal = {}): Promise<void> {
    await this.transport.send('DELETE', at(bucket, '_sessions', upload), {signal, read: (res) => res.text()});
  }

  /** Lists the records that hold a file, or a version, as far as one may know of them. */
  async *references(bucket: string, id: string, {signal}: Signal = {}): AsyncGenerator<Reference> {
    for (let cursor: string | undefined; ; ) {
      const page: {references: Reference[]; next_cursor: string | null} = await this.json('GET', at(bucket, id, 'references'), {query: {cursor, limit: 1000}, signal});
      yield* page.references;
      if (!page.next_cursor) return;
      cursor = page.next_cursor;
    }
  }

  /** Opens a session of a host, a program whose records hold files. For operators. */
  openHost(name: string, keeper: HostKeeper, options: HostOptions = {}): Promise<HostSession> {
    return openHost(this.transport, name, keeper, options);
  }

  /** Tells what a bucket takes. */
  capabilities(bucket: string, {signal}: Signal = {}): Promise<Capabilities> {
    return this.json('GET', at(bucket, '_capabilities'), {signal});
  }

  /** Sums a bucket up, in bytes as they were uploaded. */
  usage(bucket: string, {signal}: Signal = {}): Promise<Usage> {
    return this.json('GET', at(bucket, '_usage'), {signal});
  }

  /** Tells what the server is the same in for all buckets: how it cuts files, and its limits. */
  serverCapabilities({signal}: Signal = {}): Promise<ServerCapabilities> {
    return this.json('GET', at('_capabilities'), {signal});
  }

  // edit sends what must happen once, however often it is sent.
  private edit(method: string, path: string, options: Condition, call: Pick<Call<StoredFile>, 'body' | 'json' | 'headers'>): Promise<StoredFile> {
    return this.json(method, path, {...call, headers: {...call.headers, ...condition(options), 'Idempotency-Key': unique()}, signal: options.signal});
  }

  private json<T>(method: string, path: string, call: Omit<Call<T>, 'read'>): Promise<T> {
    return this.transport.send<T>(method, path, {...call, read: (res) => res.json()});
  }
}

function at(...parts: string[]): string {
  return '/api/files/' + parts.map(encodeURIComponent).join('/');
}

function atPath(bucket: string, path: string): string {
  const elements = path.split('/');
  if (elements.some((e) => ['', '.', '..'].includes(e))) throw new TypeError(`no file has the path ${path}`);
  return at(bucket, '_at', ...elements);
}

function condition({ifMatch}: Condition): Record<string, string | undefined> {
  return {'If-Match': ifMatch === undefined || ifMatch === '*' ? ifMatch : `"b3-${ifMatch}"`};
}

// A key that nobody else uses. crypto.randomUUID is there for secure pages only.
function unique(): string {
  return Array.from(crypto.getRandomValues(new Uint32Array(4)), (n) => n.toString(36)).join('-');
}

function base64(bytes: Uint8Array): string {
  let s = '';
  for (let i = 0; i < bytes.length; i += 8192) s += String.fromCharCode(...bytes.subarray(i, i + 8192));
  return btoa(s);
}
