import type {Flat} from './errors.js';
import type {Portable} from './source.js';
import type {Job, Progress, StoredFile} from './session.js';
import type {TransportOptions} from './transport.js';

/** What a worker is told to do. */
export type Task =
  | {kind: 'upload'; content: Portable; job: Job; transport: Omit<TransportOptions, 'getToken' | 'fetch'>; tokens: boolean}
  | {kind: 'scan'; content: Portable; splitter: string};

export type ToWorker = {type: 'start'; task: Task} | {type: 'token'; token?: string; error?: Flat};

export type FromWorker =
  | {type: 'ready'}
  | {type: 'token'; stale?: string}
  | {type: 'progress'; progress: Progress}
  | {type: 'list'; first: number; offset: number; bytes: Uint8Array}
  | {type: 'done'; file?: StoredFile}
  | {type: 'failed'; error: Flat};
