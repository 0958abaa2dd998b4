import assert from 'node:assert/strict';
import {spawn} from 'node:child_process';
import {once} from 'node:events';
import {appendFile, mkdtemp, rm, writeFile} from 'node:fs/promises';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {test} from 'node:test';
import {fileURLToPath} from 'node:url';
import {CairnError, Client, SourceChangedError} from '../dist/index.js';
import {golden, random} from './inputs.js';
import {bytesOf, proxy, serve, token} from './server.js';

const MiB = 1024 * 1024;

test('content of every kind and size comes back as it was', async (t) => {
  const server = await serve(t);
  const client = new Client({server: server.url});
  const some = random('every kind', 1.5 * MiB + 17);
  const dir = await mkdtemp(join(tmpdir(), 'cairn-js-'));
  t.after(() => rm(dir, {recursive: true}));
  const path = join(dir, 'on disk.bin');
  await writeFile(path, some);
  const contents = {
    empty: new Uint8Array(), byte: new Uint8Array([7]), small: some.subarray(5, 5000), bytes: some, buffer: some.buffer.slice(some.byteOffset, some.byteOffset + 70000),
    zeros: new Uint8Array(3 * MiB), sparse: golden(MiB).sparse, blob: new Blob([some, some]), path: {path},
    custom: {size: MiB, read: async (at, n) => some.slice(at, at + n)},
  };
  for (const [name, content] of Object.entries(contents)) {
    for (const worker of [true, false]) {
      const seen = [];
      const file = await client.upload('demo', content, {name: `${name} ${worker}`, worker, tags: ['a'], metadata: {b: 1}, onProgress: (p) => seen.push(p)});
      const want = name === 'path' ? some : name === 'custom' ? some.subarray(0, MiB) : Buffer.from(await new Blob([content]).arrayBuffer());
      assert.equal(file.size, want.length, name);
      assert.deepEqual([file.tags, file.metadata], [['a'], {b: 1}]);
      assert.ok((await bytesOf(await client.download('demo', file.id))).equals(want), name);
      const last = seen.at(-1);
      assert.equal(last.phase, 'done');
      assert.deepEqual([last.size, last.scanned, last.done, last.sent], [want.length, want.length, want.length, last.missing], name);
      assert.ok(seen.every((p, i) => i === 0 || (p.sent >= seen[i - 1].sent && p.done >= seen[i - 1].done && p.missing >= p.sent)), 'progress never goes back');
    }
  }
  assert.equal((await client.upload('demo', {path})).name, 'on disk.bin');
  assert.equal((await client.upload('demo', new File(['x'], 'named.txt', {type: 'text/plain'}))).name, 'named.txt');
  await assert.rejects(client.upload('demo', new Uint8Array(3)), TypeError);
});

test('of a new version only what changed travels', async (t) => {
  const server = await serve(t);
  const p = await proxy(t, server);
  const client = new Client({server: p.url});
  const old = Buffer.from(random('versions', 8 * MiB));
  const first = await client.upload('demo', old, {name: 'v.bin'});
  assert.ok(p.seen.chunkBytes >= old.length);
  p.seen.chunkBytes = 0;
  const changed = Buffer.concat([old.subarray(0, 1000), Buffer.alloc(100, 1), old.subarray(1000)]);
  changed.fill(9, 4 * MiB, 5 * MiB);
  const second = await client.upload('demo', changed, {fileId: first.id});
  assert.deepEqual([second.id, second.version], [first.id, 2]);
  assert.ok(p.seen.chunkBytes < 2 * MiB, `${p.seen.chunkBytes} bytes travelled`);
  assert.ok((await bytesOf(await client.download('demo', first.id))).equals(changed));
  assert.ok((await bytesOf(await client.download('demo', first.id, {version: 1}))).equals(old));
  p.seen.chunkBytes = 0;
  const same = await client.upload('demo', changed, {fileId: first.id, skipUnchanged: true, ifMatch: second.checksums.root});
  assert.deepEqual([same.version, p.seen.chunkBytes], [2, 0]);
  await assert.rejects(client.upload('demo', old, {fileId: first.id, ifMatch: first.checksums.root}), (err) => err instanceof CairnError && err.status === 412);
  p.seen.chunkBytes = 0;
  await client.upload('demo', changed, {name: 'other.bin', bases: [first.id]});
  assert.equal(p.seen.chunkBytes, 0);
});

test('failures that may pass are waited out', async (t) => {
  const server = await serve(t);
  const trouble = {
    open: [{status: 502}, {status: 429, headers: {'Retry-After': '1'}}],
    list: [{status: 500}, {deaf: true}, {cut: 1}, {status: 503, headers: {'Retry-After': '0'}}, undefined, {deaf: true}],
    chunks: [{status: 500}, {cut: 100_000}, {deaf: true}, {status: 504, body: '<html>'}, {status: 429}, undefined, {cut: 1000}],
    commit: [{status: 503}, {deaf: true}, {status: 500}],
  };
  const p = await proxy(t, server, (r) => trouble[r.kind]?.[r.n]);
  const content = Buffer.from(random('trouble', 6 * MiB));
  const file = await new Client({server: p.url}).upload('demo', content, {name: 'trouble.bin'});
  assert.ok((await bytesOf(await new Client({server: server.url}).download('demo', file.id))).equals(content));
  for (const [kind, list] of Object.entries(trouble)) assert.ok(p.count(kind) >= list.length, `${p.count(kind)} ${kind} requests`);
  const {files} = await new Client({server: server.url}).list('demo');
  assert.deepEqual(files.map((f) => f.name), ['trouble.bin'], 'it happened once');
});

test('what will not pass is told at once', async (t) => {
  const server = await serve(t);
  const p = await proxy(t, server, (r) => (r.url.includes('never') ? {status: 500} : undefined));
  const client = new Client({server: p.url, retries: 0});
  for (const worker of [true, false]) {
    await assert.rejects(client.upload('nowhere', new Uint8Array(2 * MiB), {name: 'x', worker}), (err) => err instanceof CairnError && err.code === 'bucket-not-found' && err.status === 404 && err.requestID !== '');
    await assert.rejects(client.upload('never', new Uint8Array(2 * MiB), {name: 'x', worker}), (err) => err instanceof CairnError && err.status === 500);
  }
  assert.equal(p.count('open'), 4);
  await client.upload('demo', new Uint8Array(9), {name: 'taken'});
  await assert.rejects(client.upload('demo', new Uint8Array(9), {name: 'taken', onConflict: 'fail'}), (err) => err.code === 'name-taken');
});

test('a token that expires meanwhile is renewed', async (t) => {
  const server = await serve(t, {users: true});
  for (const worker of [true, false]) {
    let refused = 0;
    const p = await proxy(t, server);
    const given = [];
    const client = new Client({server: p.url, worker, getToken: async (stale) => {
      assert.equal(stale, given.at(-1), 'it is told which one is stale');
      if (stale) refused++;
      given.push(token('ann', given.length < 2 ? given.length - 10 : 3600)); // the first two have expired when they arrive
      return given.at(-1);
    }});
    const content = Buffer.from(random(`tokens ${worker}`, 2 * MiB));
    const file = await client.upload('demo', content, {name: 'tokens.bin'});
    assert.equal(file.owner, 'ann');
    assert.equal(refused, 2);
    assert.ok((await bytesOf(await client.download('demo', file.id))).equals(content));
  }
  const stuck = new Client({server: server.url, getToken: () => 'no token'});
  await assert.rejects(stuck.upload('demo', new Uint8Array(2 * MiB), {name: 'x'}), (err) => err.status === 401);
  const failing = new Client({server: server.url, getToken: () => Promise.reject(new RangeError('signed out'))});
  for (const worker of [true, false]) await assert.rejects(failing.upload('demo', new Uint8Array(2 * MiB), {name: 'x', worker}), (err) => err instanceof RangeError && err.message === 'signed out');
});

test('an upload that was aborted goes on where it was', async (t) => {
  const server = await serve(t);
  for (const worker of [true, false]) {
    const content = Buffer.from(random(`abort ${worker}`, 8 * MiB));
    const p = await proxy(t, server);
    const client = new Client({server: p.url});
    const stop = new AbortController();
    const reason = new Error('enough');
    await assert.rejects(client.upload('demo', content, {name: `abort ${worker}`, worker, concurrency: 1, signal: stop.signal, bases: [], onProgress: (s) => s.sent > 2 * MiB && stop.abort(reason)}), (err) => err === reason);
    const before = p.seen.chunkBytes;
    const files = (await client.list('demo')).files.filter((f) => f.name === `abort ${worker}`);
    assert.equal(files.length, 0, 'nothing half done is a file');
    let sent = 0;
    const file = await client.upload('demo', content, {name: `abort ${worker}`, worker, onProgress: (s) => (sent = s.sent)});
    assert.ok((await bytesOf(await client.download('demo', file.id))).equals(content));
    assert.ok(sent < content.length - 2 * MiB, `${sent} bytes sent again`);
    assert.ok(p.seen.chunkBytes - before < content.length - 2 * MiB + 4096 * 40);
    await assert.rejects(client.upload('demo', content, {name: 'x', worker, signal: AbortSignal.abort(reason)}), (err) => err === reason);
  }
});

test('a process that was killed is followed by one that sends the rest, and the server may be killed too', async (t) => {
  const server = await serve(t);
  let onChunks = () => {};
  const p = await proxy(t, server, (r) => void (r.kind === 'chunks' && onChunks()));
  const dir = await mkdtemp(join(tmpdir(), 'cairn-js-'));
  t.after(() => rm(dir, {recursive: true}));
  const path = join(dir, 'killed.bin');
  const content = Buffer.from(random('killed', 16 * MiB));
  await writeFile(path, content);
  const script = fileURLToPath(new URL('put.js', import.meta.url));
  let out = '';
  const put = () => {
    const child = spawn(process.execPath, [script, p.url, path], {stdio: ['ignore', 'pipe', 'inherit']});
    t.after(() => child.kill('SIGKILL'));
    child.stdout.on('data', (d) => (out += d));
    return {child, exit: once(child, 'exit')};
  };

  // The client is killed while it sends.
  const first = put();
  onChunks = () => p.seen.chunkBytes > 5 * MiB && first.child.kill('SIGKILL');
  assert.deepEqual(await first.exit, [null, 'SIGKILL']);

  // The server is killed under the second one, and comes back.
  const began = p.seen.chunkBytes;
  let killed;
  onChunks = () => {
    if (p.seen.chunkBytes > began + 2 * MiB) killed ??= server.kill().then(() => new Promise((resolve) => setTimeout(resolve, 300))).then(() => server.start());
  };
  const second = put();
  assert.deepEqual(await second.exit, [0, null]);
  assert.ok(killed, 'the server was killed');
  await killed;
  const id = /f_\w+/.exec(out)?.[0];
  assert.ok((await bytesOf(await new Client({server: server.url}).download('demo', id))).equals(content));
  // Each kill costs at most what four requests had under way, each an eighth of what has moved and a chunk.
  assert.ok(p.seen.chunkBytes < content.length * 1.01 + 2 * 4 * (content.length / 8 + MiB / 4), `${p.seen.chunkBytes} bytes travelled`);
});

test('chunks that the server comes to miss are sent after all', async (t) => {
  const server = await serve(t);
  const client = new Client({server: server.url});
  const content = Buffer.from(random('missing', 2 * MiB));
  const p = await proxy(t, server);
  // The answer to the list says that everything is there, though nothing is.
  const lying = async (url, init) => {
    const res = await fetch(url, init);
    return String(url).includes('/list?') ? new Response(new Uint8Array((await res.arrayBuffer()).byteLength), res) : res;
  };
  const file = await new Client({server: p.url, fetch: lying}).upload('demo', content, {name: 'lied.bin'});
  assert.equal(p.count('commit'), 2);
  assert.ok((await bytesOf(await client.download('demo', file.id))).equals(content));
});

test('a session that is gone is opened anew', async (t) => {
  const server = await serve(t);
  let gone = false;
  const p = await proxy(t, server, (r) => {
    if (r.kind !== 'commit' || gone) return;
    gone = true;
    return {status: 404, headers: {'Content-Type': 'application/problem+json'}, body: JSON.stringify({code: 'upload-not-found', detail: 'no such upload'})};
  });
  const content = Buffer.from(random('gone', 1.5 * MiB));
  const before = p.seen.chunkBytes;
  const file = await new Client({server: p.url}).upload('demo', content, {name: 'gone.bin'});
  assert.equal(file.size, content.length);
  assert.equal(p.count('open'), 2);
  assert.ok(p.seen.chunkBytes - before < 1.1 * content.length, 'what the first one received is not sent again');
});

test('content that changes meanwhile is noticed', async (t) => {
  const server = await serve(t);
  const client = new Client({server: server.url});
  const dir = await mkdtemp(join(tmpdir(), 'cairn-js-'));
  t.after(() => rm(dir, {recursive: true}));
  const path = join(dir, 'grows.bin');
  await writeFile(path, random('grows', 10 * MiB));
  let grown;
  await assert.rejects(client.upload('demo', {path}, {onProgress: (p) => { if (p.scanned > 0) grown ??= appendFile(path, 'more'); }}), SourceChangedError);
  await grown;
  let reads = 0;
  const bytes = random('changes', 4 * MiB);
  const shaky = {size: bytes.length, read: async (at, n) => (reads++ < 4 ? bytes.slice(at, at + n) : bytes.slice(at, at + n).map((b) => b ^ 1))};
  await assert.rejects(client.upload('demo', shaky, {name: 'changes'}), SourceChangedError);
});
