import type {Condition} from './client.js';
import {readLines} from './lines.js';
import type {components, operations} from './openapi.js';
import {Transport, type Call, type TransportOptions} from './transport.js';
import type {AnswerOf, JSONOf, QueryOf, ReportOf} from './types.js';

type Signal = Pick<Condition, 'signal'>;

export type APIKey = components['schemas']['Key'];
export type Host = components['schemas']['Host'];
export type Working = components['schemas']['Working'];
export type Migrated = components['schemas']['Migrated'];
export type Freed = components['schemas']['FreedEntry'];
export type CheckProblem = components['schemas']['CheckProblem'];
export type CollectStatus = components['schemas']['CollectStatus'];
export type ScrubStatus = components['schemas']['ScrubStatus'];
export type Decision = AnswerOf<operations['explain']>;

/** Of what takes long: the server gives it up when the signal aborts. */
export interface WorkOptions extends Signal {
  /** Is told about once a second how far it is. */
  onProgress?: (w: Working) => void;
}

export interface ReportOptions extends WorkOptions {
  /** How many entries each list of the report has, 20 by default. */
  top?: number;
}

const storage = '/api/admin/storage/';

/** What the operators of a server may do. Its token is an operator's. */
export class Operator {
  private readonly transport: Transport;

  constructor(options: TransportOptions = {}) {
    this.transport = new Transport(options);
  }

  /** Lists the API keys, without their secrets. */
  async keys({signal}: Signal = {}): Promise<APIKey[]> {
    return (await this.json<AnswerOf<operations['keys']>>('GET', '/api/admin/keys', {signal})).keys;
  }

  /** Makes an API key. Its token is in the answer and nowhere else. */
  createKey(key: JSONOf<operations['newKey']>, {signal}: Signal = {}): Promise<APIKey> {
    return this.json('POST', '/api/admin/keys', {json: key, signal, once: true});
  }

  /** Ends an API key. */
  async deleteKey(id: string, {signal}: Signal = {}): Promise<void> {
    await this.transport.send('DELETE', '/api/admin/keys/' + encodeURIComponent(id), {signal, read: (res) => res.text()});
  }

  /** Signs URLs with a new key from now on, and returns its ID. */
  async rotateSigningKeys(options: JSONOf<operations['rotateSigning']> = {}, {signal}: Signal = {}): Promise<string> {
    return (await this.json<AnswerOf<operations['rotateSigning']>>('POST', '/api/admin/signing-keys', {json: options, signal, once: true})).key;
  }

  /** Tells what somebody may do, and which rule decides it. */
  explain(question: JSONOf<operations['explain']>, {signal}: Signal = {}): Promise<Decision> {
    return this.json('POST', '/api/admin/explain', {json: question, signal});
  }

  /** Lists the hosts, programs whose records hold files. */
  async hosts({signal}: Signal = {}): Promise<Host[]> {
    return (await this.json<AnswerOf<operations['hosts']>>('GET', '/api/admin/hosts', {signal})).hosts;
  }

  host(name: string, {signal, ...query}: QueryOf<operations['host']> & Signal = {}): Promise<Host> {
    return this.json('GET', '/api/admin/hosts/' + encodeURIComponent(name), {query, signal});
  }

  /** Ends the links of a host that is gone for good, without their policies, and returns how many there were. */
  async forgetHost(name: string, {signal}: Signal = {}): Promise<number> {
    for (let links = 0; ; ) {
      const step: AnswerOf<operations['forgetHost']> = await this.json('POST', `/api/admin/hosts/${encodeURIComponent(name)}/forget`, {signal});
      links += step.links;
      if (step.done) return links;
    }
  }

  /** Moves a bucket to another backend. It stays in use meanwhile. */
  async migrate(bucket: string, to: string, {signal, onProgress}: Signal & {onProgress?: (m: Migrated) => void} = {}): Promise<Migrated> {
    for await (const step of this.lines<Migrated>('POST', '/api/admin/migrate', {json: {bucket, to}, signal})) {
      if (step.done) return step;
      onProgress?.(step);
    }
    throw new Error(endedEarly);
  }

  /** Gives back the space of what nothing needs any more. */
  collect(options: JSONOf<operations['collect']> = {}, work: WorkOptions = {}): Promise<components['schemas']['Collected']> {
    return this.work('POST', storage + 'gc', {json: options}, work);
  }

  collectStatus({signal}: Signal = {}): Promise<CollectStatus> {
    return this.json('GET', storage + 'gc', {signal});
  }

  /** Keeps the server from collecting by itself, until it may again or is started again. */
  pauseCollect({signal}: Signal = {}): Promise<CollectStatus> {
    return this.json('POST', storage + 'gc/pause', {signal});
  }

  resumeCollect({signal}: Signal = {}): Promise<CollectStatus> {
    return this.json('POST', storage + 'gc/resume', {signal});
  }

  /** Tells what keeps a chunk, a pack or a file, or where its bytes went. Give one of digest, pack and file. */
  explainStored(what: QueryOf<operations['explainStored']>, work: WorkOptions = {}): Promise<ReportOf<operations['explainStored']>> {
    return this.work('GET', storage + 'gc/explain', {query: what}, work);
  }

  /** Tells what removing something for good would give back. */
  previewRemoval(what: JSONOf<operations['previewRemoval']>, work: WorkOptions = {}): Promise<ReportOf<operations['previewRemoval']>> {
    return this.work('POST', storage + 'gc/preview', {json: what}, work);
  }

  /** Lists which bytes collections have freed, with the removals that let them go, the newest first. */
  async *ledger({signal}: Signal = {}): AsyncGenerator<Freed> {
    for await (const line of this.lines<Freed | {end: true}>('GET', storage + 'ledger', {signal})) {
      if ('end' in line) return;
      yield line;
    }
    throw new Error(endedEarly);
  }

  reportUsage(options: ReportOptions = {}): Promise<ReportOf<operations['reportUsage']>> {
    return this.report('usage', options);
  }

  reportDedup(options: ReportOptions = {}): Promise<ReportOf<operations['reportDedup']>> {
    return this.report('dedup', options);
  }

  reportGarbage(options: ReportOptions = {}): Promise<ReportOf<operations['reportGarbage']>> {
    return this.report('gc', options);
  }

  reportFragmentation(options: ReportOptions = {}): Promise<ReportOf<operations['reportFragmentation']>> {
    return this.report('fragmentation', options);
  }

  reportOrphans(options: ReportOptions = {}): Promise<ReportOf<operations['reportOrphans']>> {
    return this.report('orphans', options);
  }

  /** Verifies that packs, index and rows agree, reading every byte. onFound is told each problem as soon as it is found. */
  check({onFound, ...work}: WorkOptions & JSONOf<operations['check']> & {onFound?: (p: CheckProblem) => void} = {}): Promise<components['schemas']['Checked']> {
    return this.work('POST', storage + 'check', {json: {rate: work.rate}}, work, onFound);
  }

  /** Reads stored bytes again and verifies them, those first that were not read for longest. */
  scrub(options: JSONOf<operations['scrub']> = {}, work: WorkOptions = {}): Promise<components['schemas']['Scrubbed']> {
    return this.work('POST', storage + 'scrub', {json: options}, work);
  }

  scrubStatus({signal}: Signal = {}): Promise<ScrubStatus> {
    return this.json('GET', storage + 'scrub', {signal});
  }

  private report<R>(name: string, {top, ...work}: ReportOptions): Promise<R> {
    return this.work('GET', storage + 'reports/' + name, {query: {top}}, work);
  }

  // work follows something long up to its report.
  private async work<R>(method: string, path: string, call: Pick<Call<Response>, 'json' | 'query'>, {signal, onProgress}: WorkOptions, onFound?: (f: CheckProblem) => void): Promise<R> {
    for await (const line of this.lines<Working & {report?: R; found?: CheckProblem}>(method, path, {...call, signal})) {
      if (line.report) return line.report;
      if (line.found) onFound?.(line.found);
      else onProgress?.(line);
    }
    throw new Error(endedEarly);
  }

  private async *lines<T>(method: string, path: string, call: Omit<Call<Response>, 'read'>): AsyncGenerator<T> {
    yield* readLines<T>(await this.transport.send(method, path, {...call, once: method !== 'GET', read: (res) => res}), call.signal);
  }

  private json<T>(method: string, path: string, call: Omit<Call<T>, 'read'>): Promise<T> {
    return this.transport.send<T>(method, path, {...call, read: (res) => res.json()});
  }
}

const endedEarly = 'the server ended before the work did';
