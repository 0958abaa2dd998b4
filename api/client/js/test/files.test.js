import assert from 'node:assert/strict';
import {test} from 'node:test';
import {CairnError, Client, IntegrityError} from '../dist/index.js';
import {backoff, retryAfter} from '../dist/transport.js';
import {random} from './inputs.js';
import {bytesOf, proxy, serve, token} from './server.js';

const MiB = 1024 * 1024;

test('a server below a path is found there', async (t) => {
  const below = await proxy(t, await serve(t), undefined, '/my/storage');
  for (const url of [below.url, below.url + '/']) {
    const client = new Client({server: url});
    const content = random('below', 1.2 * MiB);
    const file = await client.upload('demo', content, {name: 'a.bin', onConflict: 'version'});
    assert.ok(Buffer.from(content).equals(await bytesOf(await client.download('demo', file.id))));
    assert.equal((await client.list('demo')).files[0].name, 'a.bin');
    assert.equal(client.pathURL('demo', 'x/a b'), below.url + '/api/files/demo/_at/x/a%20b');
    assert.equal((await fetch(client.pathURL('demo', 'a.bin'))).status, 200);
  }
});

test('files are listed, described, changed, copied, signed, deleted and restored', async (t) => {
  const server = await serve(t);
  const client = new Client({server: server.url});
  const file = await client.upload('demo', new Blob(['one'], {type: 'text/plain'}), {name: 'a.txt', folder: 'x/y'});
  const {new_bytes, stored_bytes, ...known} = file;
  assert.deepEqual(await client.stat('demo', file.id), known);
  assert.ok(new_bytes >= 0 && stored_bytes >= 0);
  await client.upload('demo', new Blob(['two']), {name: 'a.txt', folder: 'x/y', onConflict: 'version'});
  assert.equal((await client.stat('demo', file.id)).version, 2);
  assert.equal((await client.statPath('demo', file.path)).id, file.id);
  assert.equal((await fetch(client.pathURL('demo', file.path))).status, 200);
  await assert.rejects(client.statPath('demo', '../other'), TypeError);
  assert.equal((await client.stat('demo', file.id, {version: 1})).manifest_id, file.manifest_id);
  const versions = await client.versions('demo', file.id);
  assert.deepEqual(versions.map((v) => v.version), [2, 1]);
  const renamed = await client.update('demo', file.id, {name: 'b.txt', tags: ['t'], metadata: {k: 'v'}}, {ifMatch: versions[0].checksums.root});
  assert.deepEqual([renamed.name, renamed.tags, renamed.metadata], ['b.txt', ['t'], {k: 'v'}]);
  await assert.rejects(client.update('demo', file.id, {name: 'c.txt'}, {ifMatch: '0'.repeat(64)}), (err) => err.status === 412);
  assert.equal((await client.restoreVersion('demo', file.id, 1)).version, 3);
  assert.equal(String(await bytesOf(await client.download('demo', file.id))), 'one');
  assert.equal(String(await bytesOf(await client.download('demo', versions[0].manifest_id))), 'two');
  await client.delete('demo', versions[0].manifest_id);
  assert.equal((await client.versions('demo', file.id)).length, 2);
  const copy = await client.copy('demo', file.id, {name: 'copy.txt'});
  assert.deepEqual([copy.name, copy.checksums.root], ['copy.txt', file.checksums.root]);

  const signed = await client.sign('demo', file.id, {operation: 'download', expires_in: 60});
  assert.equal(await (await fetch(signed.url)).text(), 'one');
  const taker = await client.signUpload('demo', {name: 'given.txt', expires_in: '1m'});
  assert.equal((await fetch(taker.url + '&name=given.txt', {method: taker.method, body: 'given'})).status, 201);

  const names = [];
  for await (const f of client.files('demo', {limit: 1})) names.push(f.path);
  assert.deepEqual(names, ['given.txt', 'x/y/b.txt', 'x/y/copy.txt']);
  assert.deepEqual((await client.list('demo', {prefix: 'x/y/b'})).files.map((f) => f.id), [file.id]);
  await client.delete('demo', file.id);
  await assert.rejects(client.stat('demo', file.id), (err) => err instanceof CairnError && err.code === 'file-not-found');
  assert.equal((await client.stat('demo', file.id, {trashed: true})).state, 'trashed');
  assert.equal((await client.restore('demo', file.id)).state, 'active');
  await client.delete('demo', file.id, {permanent: true});
  await assert.rejects(client.restore('demo', file.id), CairnError);
  assert.equal((await client.capabilities('demo')).hash, 'blake3-256');
});

test('what others may not see is not there', async (t) => {
  const server = await serve(t, {users: true});
  const ann = new Client({server: server.url, getToken: () => token('ann')});
  const bob = new Client({server: server.url, getToken: async () => token('bob')});
  const file = await ann.upload('demo', random('mine', 2 * MiB), {name: 'mine.bin'});
  await assert.rejects(bob.stat('demo', file.id), (err) => err.code === 'file-not-found');
  await assert.rejects(bob.download('demo', file.id), (err) => err.code === 'file-not-found');
  const p = await proxy(t, server);
  await new Client({server: p.url, getToken: () => token('bob')}).upload('demo', random('mine', 2 * MiB), {name: 'mine too.bin'});
  assert.ok(p.seen.chunkBytes > 2 * MiB, 'bob is told nothing of what ann has');
});

test('a download that breaks off goes on, of the same version', async (t) => {
  const server = await serve(t);
  const direct = new Client({server: server.url});
  const content = Buffer.from(random('broken', 6 * MiB));
  const file = await direct.upload('demo', content, {name: 'broken.bin'});
  const p = await proxy(t, server, (r) => (r.kind === 'download' && r.n < 3 ? {cutAnswer: 1_500_000} : undefined));
  const client = new Client({server: p.url});
  let done = 0;
  const d = await client.download('demo', file.id, {onProgress: (s) => (done = s.done)});
  assert.equal(d.size, content.length);
  assert.ok((await bytesOf(d)).equals(content));
  assert.equal(done, content.length);
  assert.equal(p.count('download'), 4);

  const q = await proxy(t, server, (r) => (r.kind === 'download' && r.n === 0 ? {cutAnswer: 1_500_000} : undefined));
  const e = await new Client({server: q.url}).download('demo', file.id);
  await direct.upload('demo', random('other', 6 * MiB), {fileId: file.id});
  await assert.rejects(bytesOf(e), (err) => err.code === 'precondition-failed', 'two versions are never mixed');

  const stop = new AbortController();
  const f = await client.download('demo', file.id, {signal: stop.signal});
  const reader = f.stream.getReader();
  await reader.read();
  stop.abort(new Error('enough'));
  await assert.rejects(async () => { while (!(await reader.read()).done); }, /enough/);
  const g = await client.download('demo', file.id);
  await g.stream.cancel();
});

test('with an older copy only what differs is fetched, and all is verified', async (t) => {
  const server = await serve(t);
  const direct = new Client({server: server.url});
  const old = Buffer.from(random('delta', 8 * MiB));
  const changed = Buffer.concat([old.subarray(0, 1000), Buffer.alloc(100, 1), old.subarray(1000), Buffer.alloc(3 * MiB)]);
  changed.fill(9, 4 * MiB, 5 * MiB);
  const file = await direct.upload('demo', changed, {name: 'delta.bin'});
  let truth = true;
  const p = await proxy(t, server, (r) => (r.kind === 'download' && !truth ? {status: 206, headers: {'Content-Length': rangeOf(r)}, body: Buffer.alloc(rangeOf(r))} : undefined));
  const client = new Client({server: p.url, retries: 1});
  for (const seed of [new Blob([old]), old, {size: old.length, read: async (at, n) => new Uint8Array(old.subarray(at, at + n))}]) {
    let fetched = 0;
    const d = await client.download('demo', file.id, {seed, onProgress: (s) => (fetched = s.fetched)});
    assert.equal(d.size, changed.length);
    assert.ok((await bytesOf(d)).equals(changed));
    assert.ok(fetched > MiB && fetched < 2 * MiB, `${fetched} bytes fetched`);
  }
  const changing = {size: old.length, read: async (at, n) => new Uint8Array(old.subarray(at, at + n))};
  const d = await client.download('demo', file.id, {seed: changing});
  changing.read = async (at, n) => new Uint8Array(n);
  assert.ok((await bytesOf(d)).equals(changed), 'a seed that changes is not believed');
  assert.ok((await bytesOf(await client.download('demo', file.id, {verify: true}))).equals(changed));
  truth = false;
  await assert.rejects(async () => bytesOf(await client.download('demo', file.id, {verify: true})), IntegrityError);
  const empty = await direct.upload('demo', new Uint8Array(), {name: 'empty'});
  assert.equal((await bytesOf(await client.download('demo', empty.id, {seed: old}))).length, 0);
});

function rangeOf(r) {
  const [, a, b] = /bytes=(\d+)-(\d+)/.exec(r.headers.range);
  return b - a + 1;
}

test('delays grow, differ, and keep to Retry-After', () => {
  for (let n = 1; n < 20; n++) {
    const d = backoff(n);
    assert.ok(d >= Math.min(30_000, 250 * 2 ** (n - 1)) / 2 && d <= 30_000, `${d} after ${n} failures`);
  }
  const now = Date.parse('2026-01-01T00:00:00Z');
  assert.deepEqual([null, '', '7', ' 7 ', 'Thu, 01 Jan 2026 00:00:09 GMT', 'Thu, 01 Jan 2020 00:00:00 GMT', 'soon', '99999', '-5'].map((h) => retryAfter(h, now)), [0, 0, 7000, 7000, 9000, 0, 0, 300_000, 0]);
});

test('a server that is not named is refused where there is no page', () => {
  assert.throws(() => new Client({}), TypeError);
  assert.throws(() => new Client({server: 'no url'}), TypeError);
});
