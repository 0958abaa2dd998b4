import {download, type Download, type DownloadOptions} from './download.js';
import {openHost, type HostKeeper, type HostOptions, type HostSession, type Reference} from './host.js';
import type {components, operations} from './openapi.js';
import {upload} from './run.js';
import type {Job, Progress, StoredFile} from './session.js';
import type {Content} from './source.js';
import {Transport, type Call, type TransportOptions} from './transport.js';

type JSONOf<O> = O extends {requestBody?: {content: {'application/json': infer B}}} ? B : never;
type QueryOf<O> = O extends {parameters: {query?: infer Q}} ? NonNullable<Q> : never;

export type FileList = components['responses']['Files']['content']['application/json'];
export type ListOptions = QueryOf<operations['list']> & Signal;
export type Patch = components['schemas']['Patch'];
export type CopyOptions = JSONOf<operations['copy']>;
export type SignOptions = JSONOf<operations['sign']>;
export type SignUploadOptions = JSONOf<operations['signUpload']>;
export type SignedURL = components['schemas']['SignedURL'];
export type Capabilities = operations['capabilities']['responses'][200]['content']['application/json'];

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

  /** Signs a URL that opens the file, or takes a version of it, without a token. */
  sign(bucket: string, id: string, options: Partial<SignOptions> = {}, {signal}: Signal = {}): Promise<SignedURL> {
    return this.json('POST', at(bucket, id, 'sign'), {json: options, signal});
  }

  /** Signs a URL that takes a new file. */
  signUpload(bucket: string, options: SignUploadOptions = {}, {signal}: Signal = {}): Promise<SignedURL> {
    return this.json('POST', at(bucket, '_sign-upload'), {json: options, signal});
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
