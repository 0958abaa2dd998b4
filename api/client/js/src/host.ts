import type {components, operations} from './openapi.js';
import type {Transport} from './transport.js';
import type {AnswerOf, JSONOf} from './types.js';

export type RecordLink = components['schemas']['RecordLink'];
export type Reference = components['schemas']['Reference'];
export type Change = JSONOf<operations['prepare']>['changes'][number];
export type Hold = AnswerOf<operations['prepare']>;
/** Whom a host does something for; null is the host itself. */
export type ActingFor = {id: string; claims?: Record<string, unknown>} | null;
export type ResolveItem = JSONOf<operations['resolve']>['items'][number];
export type Resolved = AnswerOf<operations['resolve']>['items'][number];
export type Row = NonNullable<JSONOf<operations['reconcileRows']>['rows']>[number];
export type Dangling = NonNullable<components['schemas']['Run']['dangling']>[number];
export type Reconciled = components['schemas']['Run']['counts'];

/** What a host keeps in one row of its database. */
export interface HostState {
  database: string;
  session: number;
}

/** Keeps the state of a host in the host's database. */
export interface HostKeeper {
  /** What save kept last; undefined if it kept nothing. */
  load(): HostState | undefined | Promise<HostState | undefined>;
  /** Keeps the state durably, in place of what was kept before. */
  save(state: HostState): void | Promise<void>;
}

export interface HostOptions {
  /** The host's collections, as they stand in schema.yaml. */
  collections?: Record<string, unknown>;
  /** What becomes of links of fields that have changed or are gone, by collection.field. */
  linkPlans?: Record<string, 'keep' | 'release'>;
  /** Earlier sessions go on: other processes have the same database open. */
  shared?: boolean;
  /** The database takes the place of the one that the server knows. */
  adopt?: boolean;
  /** One of the databases was restored from a backup. */
  restored?: boolean;
}

export interface ReconcileOptions {
  /** All values of the file fields of all records. */
  rows: Iterable<Row> | AsyncIterable<Row>;
  /** Does the record have what the link stands for? It must see all that was committed before it is called. */
  exists: (link: RecordLink) => boolean | Promise<boolean>;
  /** Changes nothing. */
  dryRun?: boolean;
  /** Lets go more links than maxDrops: 1,000 by default, or a tenth if that is more. */
  force?: boolean;
  maxDrops?: number;
  /** Is told each value whose file is not there. */
  onDangling?: (d: Dangling) => void;
}

type Run = components['schemas']['Run'];
type Verdict = components['schemas']['Verdict'];

const page = 500; // rows, and links, of a request

/** The file that a link's field has: the version if it pins one. */
export function valueOf(link: RecordLink): string {
  return link.version ?? link.file;
}

/** Opens a session of a host: the server offers it, the host keeps it, and it begins. */
export async function openHost(transport: Transport, name: string, keeper: HostKeeper, options: HostOptions = {}): Promise<HostSession> {
  const {collections, linkPlans: link_plans, shared, adopt, restored} = options;
  const with_ = {collections, link_plans, shared, adopt, restored};
  const post = <T>(step: string, state?: HostState) =>
    transport.send<T>('POST', path(name, step), {json: {...state, ...with_}, read: (res) => res.json()});
  const state = await post<HostState>('offer', await keeper.load());
  await keeper.save(state);
  const {unreconciled} = await post<AnswerOf<operations['beginSession']>>('begin', state);
  return new HostSession(transport, name, state.session, unreconciled);
}

/** A session of a host, a program whose records hold files. Its client is an operator's. */
export class HostSession {
  /** @internal */
  constructor(private readonly transport: Transport, readonly host: string, readonly session: number, readonly unreconciled: boolean) {}

  /**
   * Checks the values that records are about to get, and holds their files. Write the values that it returns, then
   * confirm when the change is durable, or cancel when it will not be made.
   */
  prepare(who: ActingFor, changes: Change[]): Promise<Hold> {
    return this.post('prepare', {as: who, changes});
  }

  /** Says that the changes of holds are durable in the host's database. */
  confirm(...tokens: string[]): Promise<void> {
    return this.say('confirm', {tokens});
  }

  /** Says that the changes of holds will not be made. */
  cancel(...tokens: string[]): Promise<void> {
    return this.say('cancel', {tokens});
  }

  /** Tells what values stand for, in their order, as who may see it. */
  async resolve(who: ActingFor, items: (string | ResolveItem)[]): Promise<Resolved[]> {
    const out = await this.post<{items: Resolved[]}>('resolve', {as: who, items: items.map((i) => (typeof i === 'string' ? {id: i} : i))});
    return out.items;
  }

  /** The links whose files were deleted, until they are acknowledged (on_delete: set_null). */
  async *events(): AsyncGenerator<RecordLink> {
    for (let cursor: string | undefined; ; ) {
      const found: AnswerOf<operations['linkEvents']> = await this.transport.send('GET', this.at('events'), {query: {cursor, limit: page}, read: (res) => res.json()});
      for (const e of found.events) yield e.link;
      if (!found.next_cursor) return;
      cursor = found.next_cursor;
    }
  }

  /** Says that records no longer have what events told of. */
  acknowledge(...links: (string | RecordLink)[]): Promise<void> {
    return this.say('events/acknowledge', {links: links.map((l) => (typeof l === 'string' ? l : l.id))});
  }

  /** Makes links and records agree, in both directions. Until one has ended an unreconciled host stays so. */
  async reconcile({rows, exists, dryRun, force, maxDrops, onDangling}: ReconcileOptions): Promise<Reconciled> {
    let at = await this.post<Run>('reconcile', {dry_run: dryRun, force, max_drops: maxDrops});
    const step = async (name: string, body: object) => {
      at = await this.post<Run>('reconcile/' + name, {run: at.run, ...body});
      at.dangling?.forEach((d) => onDangling?.(d));
    };

    let some: Row[] = [];
    let values = 0;
    for await (const row of rows) {
      if (some.length === page || values + (row.values?.length ?? 0) > 10 * page) {
        await step('rows', {rows: some});
        [some, values] = [[], 0];
      }
      some.push(row);
      values += row.values?.length ?? 0;
    }
    await step('rows', {rows: some, last: true});

    const denied: Verdict[] = [];
    for (let verdicts: Verdict[] = []; ; ) {
      await step('links', {verdicts, limit: page});
      if (at.done) break;
      verdicts = [];
      for (const l of at.links ?? []) verdicts.push({id: l.id, revision: l.revision, exists: await exists(l)});
      denied.push(...verdicts.filter((v) => !v.exists));
    }
    for (let i = 0; i < denied.length; i += page) await step('drop', {links: denied.slice(i, i + page)});
    await step('end', {});
    return at.counts;
  }

  /** Ends the session: what is neither confirmed nor cancelled is left to a reconciliation. */
  async end(): Promise<void> {
    await this.transport.send('DELETE', this.at(), {read: (res) => res.text()});
  }

  private at(...steps: string[]): string {
    return path(this.host, 'sessions', String(this.session), ...steps);
  }

  private post<T>(step: string, json: object): Promise<T> {
    return this.transport.send<T>('POST', this.at(...step.split('/')), {json, read: (res) => res.json()});
  }

  private async say(step: string, json: object): Promise<void> {
    await this.transport.send('POST', this.at(...step.split('/')), {json, read: (res) => res.text()});
  }
}

function path(...parts: string[]): string {
  return '/api/admin/hosts/' + parts.map(encodeURIComponent).join('/');
}
