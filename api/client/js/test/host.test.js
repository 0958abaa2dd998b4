import assert from 'node:assert/strict';
import {test} from 'node:test';
import {Client, valueOf} from '../dist/index.js';
import {serve} from './server.js';

const collections = {posts: {fields: {
  cover: {type: 'file', nullable: true, file: {bucket: 'demo', on_delete: 'set_null'}},
  scan: {type: 'file', file: {bucket: 'demo', on_delete: 'restrict'}},
  pages: {type: 'files', file: {bucket: 'demo', pin: 'file'}},
}}};

/** A host with its records in memory. */
function newHost() {
  const records = new Map(); // "record.field" to values
  const host = {records, state: undefined, load: () => host.state, save: (s) => { host.state = s; }};
  host.has = (l) => (records.get(`${l.record}.${l.field}`) ?? []).includes(valueOf(l));
  host.rows = function* () {
    for (const [key, values] of records) {
      const [record, field] = key.split('.');
      yield {collection: 'posts', record, field, values};
    }
  };
  /** Changes a record in the two steps. */
  host.set = async (session, record, field, ...values) => {
    const hold = await session.prepare(null, [{collection: 'posts', record, fields: {[field]: values}}]);
    records.set(`${record}.${field}`, hold.values[0][field]);
    await session.confirm(hold.token);
    return hold;
  };
  return host;
}

async function all(of) {
  const out = [];
  for await (const x of of) out.push(x);
  return out;
}

test('a host holds files for its records, is told of deletions, and reconciles', async (t) => {
  const server = await serve(t);
  const client = new Client({server: server.url});
  const put = (name) => client.upload('demo', new Blob([name]), {name});
  const [a, b, c] = [await put('a'), await put('b'), await put('c')];
  const host = newHost();
  let session = await client.openHost('blog', host, {collections});
  assert.deepEqual([session.unreconciled, host.state.session], [false, 1]);

  const hold = await host.set(session, '1', 'scan', a.id);
  assert.deepEqual(hold.values, [{scan: [a.manifest_id]}]);
  await session.confirm(hold.token);
  await assert.rejects(client.delete('demo', a.id), (err) => err.code === 'file-referenced' && err.details.references[0].record === '1');
  assert.deepEqual((await all(client.references('demo', a.id))).map((r) => [r.host, r.field, r.state]), [['blog', 'scan', 'confirmed']]);
  assert.equal((await client.stat('demo', a.id)).refs, 1);
  await assert.rejects(session.prepare({id: 'ann'}, [{collection: 'posts', record: '2', fields: {scan: ['f_none']}}]), (err) => err.status === 404);
  await assert.rejects(session.prepare(null, [{collection: 'posts', record: '2', fields: {scan: [a.id, b.id]}}]), (err) => err.code === 'invalid-value');

  await host.set(session, '1', 'cover', b.id);
  await client.delete('demo', b.id);
  const events = await all(session.events());
  assert.deepEqual(events.map((l) => [l.record, l.field, l.file]), [['1', 'cover', b.id]]);
  assert.deepEqual((await session.resolve(null, [b.id, {id: a.manifest_id}, 'm_none'])).map((r) => [r.status, r.file?.id]), [['deleted', undefined], ['found', a.id], ['absent', undefined]]);
  host.records.set('1.cover', []);
  await session.acknowledge(...events);
  assert.deepEqual(await all(session.events()), []);

  // A crash between commit and confirm, and one between prepare and commit.
  const written = await session.prepare(null, [{collection: 'posts', record: '2', fields: {pages: [c.id]}}]);
  host.records.set('2.pages', written.values[0].pages);
  await session.prepare(null, [{collection: 'posts', record: '3', fields: {pages: [a.id]}}]);
  session = await client.openHost('blog', host, {collections, restored: true});
  assert.equal(session.unreconciled, true);
  await assert.rejects(client.delete('demo', c.id, {permanent: true}), (err) => err.code === 'links-unreconciled');
  host.records.set('4.pages', ['f_gone']);
  const dangling = [];
  const dry = await session.reconcile({rows: host.rows(), exists: host.has, dryRun: true, onDangling: (d) => dangling.push(d.value)});
  const done = await session.reconcile({rows: host.rows(), exists: async (l) => host.has(l)});
  assert.deepEqual([dry.let_go, done.let_go, done.dangling, dangling], [1, 1, 1, ['f_gone']]);
  assert.deepEqual((await all(client.references('demo', c.id))).map((r) => r.state), ['confirmed', 'confirmed']);
  await assert.rejects(session.reconcile({rows: [], exists: () => false, maxDrops: 1}), (err) => err.code === 'too-many-drops');
  assert.equal((await client.stat('demo', a.id)).refs, 1);
  await session.end();
  await assert.rejects(session.confirm(hold.token), (err) => err.code === 'session-ended');

  await assert.rejects(client.openHost('blog', newHost(), {collections}), (err) => err.code === 'host-database');
});
