// Every operation of the HTTP API is a method of the client, or there is a reason why not.
import assert from 'node:assert/strict';
import {test} from 'node:test';
import {Client, Operator} from '../dist/index.js';
import {serve} from './server.js';

const other = {
  openapi: 'the client is made from it',
  health: 'for load balancers and process managers',
  ready: 'for load balancers and process managers',
  create: 'upload makes a chunk session, which resumes and sends only what is missing; forms and raw bodies are for programs without this client',
  replace: 'upload with fileId',
  chunk: 'a download reads ranges, of many chunks at once',
  sendChunk: 'an upload sends many chunks in a request',
  view: 'pages use links.view of a file, or pathURL',
  viewVersion: 'pages use links.view of a version (m_…)',
  downloadVersion: 'download with version',
  statVersion: 'stat with version',
  removeVersion: 'delete with the ID of the version (m_…)',
  signByQuery: 'sign; this one is for Alyx\'s clients',
};
// Other protocols for uploads have clients of their own: tus-js-client, Uppy.
const protocols = /^(tus\w+|limits|versionLimits|upload(Limits|Head|Get|Append|Cancel|Post))$/;
const sameAs = {listSlash: 'list', createSlash: 'create', limitsSlash: 'limits'};

const b = 'demo', f = 'f_1';
const bytes = new Uint8Array(100_000);
const who = {id: 'ann'};
const keeper = {load: () => ({database: 'd', session: 1}), save() {}};
const all = async (of) => { for await (const x of of) void x; };
const inHost = (call) => async (c) => call(await c.openHost('blog', keeper, {collections: {}, linkPlans: {'a.b': 'keep'}, shared: true, adopt: true, restored: true}));

/** Calls of every method, with every option that becomes a parameter. */
const calls = {
  upload: (c) => c.upload(b, bytes, {name: 'a', folder: 'x', mimeType: 'text/plain', metadata: {}, tags: [], cacheControl: 'max-age=1', onConflict: 'new', skipUnchanged: true, digests: ['sha256'], bases: [], ifMatch: '*'}),
  download: (c) => c.download(b, f, {version: 1}),
  'download, verified': (c) => c.download(b, f, {version: 1, verify: true}),
  list: (c) => c.list(b, {limit: 1, cursor: 'c', prefix: 'p', folder: 'x', delimiter: '/', search: 's', mime_type: 'a/b', order: '-size', state: 'trashed', offset: 1}),
  files: (c) => all(c.files(b)),
  stat: (c) => c.stat(b, f, {version: 1, trashed: true, via: 'v', via_host: 'h'}),
  statPath: (c) => c.statPath(b, 'x/a', {version: 1, via: 'v', via_host: 'h'}),
  update: (c) => c.update(b, f, {name: 'b'}, {ifMatch: '*'}),
  versions: (c) => c.versions(b, f),
  diff: (c) => c.diff(b, f, 2, {from: 1}),
  restoreVersion: (c) => c.restoreVersion(b, f, 1),
  delete: (c) => c.delete(b, f, {permanent: true, ifMatch: '*'}),
  restore: (c) => c.restore(b, f),
  copy: (c) => c.copy(b, f, {name: 'c'}),
  append: (c) => c.append(b, f, 'x', {ifMatch: '*'}),
  overwrite: (c) => c.overwrite(b, f, 1, 'x', {ifMatch: '*'}),
  truncate: (c) => c.truncate(b, f, 1, {ifMatch: '*'}),
  compose: (c) => c.compose(b, {name: 'c', pieces: [{file: f}]}, {ifMatch: '*'}),
  preview: (c) => c.preview(b, f, {width: 1, height: 1, gravity: 'top', quality: 1, border_width: 1, border_color: '000000', border_radius: 1, opacity: 1, rotation: 1, background: '000000', format: 'png', version: 1, filename: 'p', via: 'v', via_host: 'h'}),
  sign: (c) => c.sign(b, f, {operation: 'view'}),
  signUpload: (c) => c.signUpload(b, {name: 'n'}),
  grants: (c) => c.grants(b),
  grant: (c) => c.grant(b, 'g_1'),
  revoke: (c) => c.revoke(b, 'g_1'),
  uploadState: (c) => c.uploadState(b, 'u_1'),
  dropUpload: (c) => c.dropUpload(b, 'u_1'),
  references: (c) => all(c.references(b, f)),
  usage: (c) => c.usage(b),
  capabilities: (c) => c.capabilities(b),
  serverCapabilities: (c) => c.serverCapabilities(),
  openHost: inHost(() => {}),
  'host: prepare': inHost((s) => s.prepare(who, [])),
  'host: confirm': inHost((s) => s.confirm('t')),
  'host: cancel': inHost((s) => s.cancel('t')),
  'host: resolve': inHost((s) => s.resolve(who, ['f_1'])),
  'host: events': inHost((s) => all(s.events())),
  'host: acknowledge': inHost((s) => s.acknowledge('l_1')),
  'host: reconcile': inHost((s) => s.reconcile({rows: [], exists: () => false, dryRun: true})),
  'host: end': inHost((s) => s.end()),
  keys: (c, o) => o.keys(),
  createKey: (c, o) => o.createKey({name: 'k'}),
  deleteKey: (c, o) => o.deleteKey('k'),
  rotateSigningKeys: (c, o) => o.rotateSigningKeys(),
  explain: (c, o) => o.explain({bucket: b, operation: 'read'}),
  hosts: (c, o) => o.hosts(),
  host: (c, o) => o.host('blog', {counts: true}),
  forgetHost: (c, o) => o.forgetHost('blog'),
  migrate: (c, o) => o.migrate(b, 'disk'),
  collect: (c, o) => o.collect(),
  collectStatus: (c, o) => o.collectStatus(),
  pauseCollect: (c, o) => o.pauseCollect(),
  resumeCollect: (c, o) => o.resumeCollect(),
  explainStored: (c, o) => o.explainStored({file: f, pack: 'p', digest: 'd'}),
  previewRemoval: (c, o) => o.previewRemoval({delete: ['demo/f_1']}),
  ledger: (c, o) => all(o.ledger()),
  reportUsage: (c, o) => o.reportUsage({top: 1}),
  reportDedup: (c, o) => o.reportDedup({top: 1}),
  reportGarbage: (c, o) => o.reportGarbage({top: 1}),
  reportFragmentation: (c, o) => o.reportFragmentation({top: 1}),
  reportOrphans: (c, o) => o.reportOrphans({top: 1}),
  check: (c, o) => o.check(),
  scrub: (c, o) => o.scrub(),
  scrubStatus: (c, o) => o.scrubStatus(),
};

/** Finds the operation of a request: the one whose path has the most that is fixed. */
function operationOf(description, method, path) {
  let found, fewest = Infinity;
  for (const [template, item] of Object.entries(description.paths)) {
    const op = item[method.toLowerCase()];
    const pattern = template.replaceAll(/[.]/g, '\\.').replaceAll('{path}', '.+').replaceAll(/{\w+}/g, '[^/]+');
    const variables = template.split('{').length;
    if (op && variables < fewest && new RegExp(`^${pattern}$`).test(path)) [found, fewest] = [op, variables];
  }
  return found;
}

test('every operation is a method, or there is a reason why not', async (t) => {
  const server = await serve(t);
  const description = await (await fetch(server.url + '/api/openapi.json')).json();
  const parameters = (op, path) => [...(op.parameters ?? []), ...(path?.parameters ?? [])].map((p) => (p.$ref ? description.components.parameters[p.$ref.split('/').pop()] : p));
  const reached = new Map();
  let missed = false;
  // Answers with what any operation may be read for. The first commit misses chunks, so that they are asked for.
  const answer = async (url, {method}) => {
    const {pathname, searchParams} = new URL(url);
    const op = operationOf(description, method, pathname);
    assert.ok(op, `${method} ${pathname} is no operation`);
    reached.set(op.operationId, (reached.get(op.operationId) ?? 0) + 1);
    const known = parameters(op).filter((p) => p.in === 'query').map((p) => p.name);
    for (const name of searchParams.keys()) assert.ok(known.includes(name), `${op.operationId} has no parameter ${name}`);
    const refused = op.operationId === 'commitSession' && !missed;
    missed ||= refused;
    const done = op.operationId !== 'reconcileLinks' || reached.get(op.operationId) > 1; // after one link, which is dropped
    const json = {
      code: 'chunks-missing', id: 'u_1', chunker: 'fixed-65536', limits: {max_batch: 1 << 20}, files: [], grants: [], keys: [], hosts: [], references: [], events: [], items: [],
      values: [], database: 'd', session: 1, unreconciled: false, run: 'r', counts: {}, links: [{id: 'l_1', revision: 1}], done, end: true, report: {}, next_cursor: null,
    };
    const list = op.operationId === 'manifest';
    return new Response(list ? new Uint8Array() : JSON.stringify(json), {status: refused ? 409 : 200, headers: list ? {'X-Chunker': 'fixed-65536', 'X-Manifest-Id': 'm_1'} : {}});
  };
  const options = {server: server.url, retries: 0, fetch: answer, worker: false};
  const client = new Client(options), operator = new Operator(options);
  for (const [name, call] of Object.entries(calls)) {
    const before = [...reached.values()].reduce((n, k) => n + k, 0);
    await call(client, operator).catch?.((err) => assert.fail(`${name}: ${err.stack}`));
    assert.ok([...reached.values()].reduce((n, k) => n + k, 0) > before, `${name} makes no request`);
  }

  const without = [], both = [];
  for (const item of Object.values(description.paths)) {
    for (const op of Object.values(item)) {
      const id = op.operationId;
      if (!id) continue;
      const reason = protocols.test(sameAs[id] ?? id) || other[sameAs[id] ?? id] !== undefined || reached.has(sameAs[id]);
      if (!reached.has(id) && !reason) without.push(id);
      if (reached.has(id) && other[id]) both.push(id);
    }
  }
  assert.deepEqual(without, [], 'operations that the client has no method for: write one, or a reason in this test');
  assert.deepEqual(both, [], 'operations that have a method and a reason why not');
  t.diagnostic(`${reached.size} operations are reached by ${Object.keys(calls).length} calls, ${Object.keys(other).length} have a reason why not`);
});
