export {Client} from './client.js';
export type {
  Capabilities, ClientOptions, Composition, Condition, CopyOptions, Diff, EditBytes, FileList, Grant, ListOptions, Patch, Piece, PreviewOptions,
  ServerCapabilities, Signal, SignedURL, SignOptions, SignUploadOptions, UploadOptions, UploadState, Usage,
} from './client.js';
export type {Download, DownloadOptions} from './download.js';
export {CairnError, IntegrityError, SourceChangedError} from './errors.js';
export type {Problem} from './errors.js';
export {HostSession, valueOf} from './host.js';
export type {ActingFor, Change, Dangling, Hold, HostKeeper, HostOptions, HostState, Reconciled, ReconcileOptions, RecordLink, Reference, Resolved, ResolveItem, Row} from './host.js';
export {Operator} from './operator.js';
export type {APIKey, CheckProblem, CollectStatus, Decision, Freed, Host, Migrated, ReportOptions, ScrubStatus, Working, WorkOptions} from './operator.js';
export type {Progress, StoredFile} from './session.js';
export type {Content, Source} from './source.js';
export type {GetToken, TransportOptions} from './transport.js';
export {cut} from './run.js';
export {hex, newHasher} from './digest.js';
export type {Hasher} from './digest.js';
export {parseSplitter} from './splitter.js';
export type {Splitter} from './splitter.js';
export {ChunkList} from './wire.js';
export type {Ref} from './wire.js';
export type {components, operations, paths} from './openapi.js';
