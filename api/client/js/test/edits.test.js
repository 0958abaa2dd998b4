// Edits, sums, grants and what operators do, against the real server.
import assert from 'node:assert/strict';
import {test} from 'node:test';
import {CairnError, Client, Operator} from '../dist/index.js';
import {random} from './inputs.js';
import {bytesOf, proxy, serve, token} from './server.js';

test('content is appended to, overwritten, truncated and composed', async (t) => {
  const server = await serve(t);
  const client = new Client({server: server.url});
  const text = async (id, options) => String(await bytesOf(await client.download('demo', id, options)));
  const log = await client.upload('demo', new Blob(['one\n']), {name: 'log.txt'});
  const second = await client.append('demo', log.id, 'two ü\n');
  assert.deepEqual([second.version, await text(log.id)], [2, 'one\ntwo ü\n']);
  await client.append('demo', log.id, new Blob(['three\n']), {ifMatch: second.checksums.root});
  await assert.rejects(client.append('demo', log.id, 'never', {ifMatch: second.checksums.root}), (err) => err.code === 'precondition-failed');
  assert.equal(await text(log.id), 'one\ntwo ü\nthree\n');
  await client.overwrite('demo', log.id, 0, new TextEncoder().encode('ONE'));
  assert.equal(await text(log.id), 'ONE\ntwo ü\nthree\n');
  await client.overwrite('demo', log.id, 4, 'TWO Ü');
  assert.equal(await text(log.id), 'ONE\nTWO Ü\nthree\n');
  await assert.rejects(client.overwrite('demo', log.id, 0, ''), TypeError);
  const cut = await client.truncate('demo', log.id, 3);
  assert.deepEqual([cut.size, cut.version, await text(log.id)], [3, 6, 'ONE']);
  await assert.rejects(client.truncate('demo', log.id, 4), (err) => err instanceof CairnError && err.code === 'range-not-satisfiable');

  const large = Buffer.from(random('composed', 300_000));
  const all = new Uint8Array(20_000).map((_, i) => i);
  const source = await client.upload('demo', large, {name: 'source.bin'});
  const made = await client.compose('demo', {name: 'made.bin', folder: 'x', tags: ['t'], pieces: [{data: all}, {file: source.id, offset: 1000, length: 200_000}, {file: log.id}]});
  assert.deepEqual([made.path, made.tags], ['x/made.bin', ['t']]);
  assert.ok((await bytesOf(await client.download('demo', made.id))).equals(Buffer.concat([all, large.subarray(1000, 201_000), Buffer.from('ONE')])));
  const version = await client.compose('demo', {file_id: made.id, pieces: [{file: made.manifest_id, length: 5}]}, {ifMatch: made.checksums.root});
  assert.deepEqual([version.version, version.size], [2, 5]);
  const diff = await client.diff('demo', made.id, 2);
  assert.deepEqual([diff.from, diff.to, diff.shared_bytes + diff.added_bytes], [1, 2, 5]);
});

test('an edit whose answer was lost happens once', async (t) => {
  const server = await serve(t);
  const p = await proxy(t, server, (r) => (/append|_compose/.test(r.url) && [...p.seen.requests].filter((q) => q.url === r.url).length === 1 ? {deaf: true} : undefined));
  const client = new Client({server: p.url});
  const file = await new Client({server: server.url}).upload('demo', new Blob(['a']), {name: 'a.txt'});
  assert.equal((await client.append('demo', file.id, 'b')).version, 2);
  assert.equal((await client.compose('demo', {name: 'c.txt', pieces: [{file: file.id}]})).size, 2);
  assert.deepEqual((await client.list('demo')).files.map((f) => [f.name, f.size, f.version]), [['a.txt', 2, 2], ['c.txt', 2, 1]]);
  assert.equal(p.seen.requests.length, 5);
});

test('a bucket is summed up, grants are listed and revoked, uploads given up', async (t) => {
  const open = new Client({server: (await serve(t)).url});
  await open.upload('demo', new Blob(['content']), {name: 'a.txt'});
  await open.upload('demo', new Blob(['content, again']), {name: 'b.txt'});
  const usage = await open.usage('demo');
  assert.deepEqual([usage.files, usage.versions, usage.bytes], [2, 2, 21]);

  const server = await serve(t, {users: true});
  const client = new Client({server: server.url, getToken: () => token('ann')});
  const file = await client.upload('demo', new Blob(['content']), {name: 'a.txt'});

  const signed = await client.sign('demo', file.id, {operation: 'view', expires_in: '1h', max_uses: 5});
  const grants = await client.grants('demo');
  assert.deepEqual(grants.map((g) => [g.id, g.file, g.operation, g.max_uses, g.owner]), [[signed.grant_id, file.id, 'view', 5, 'ann']]);
  assert.deepEqual(await client.grant('demo', signed.grant_id), grants[0]);
  assert.equal((await fetch(signed.url)).status, 200);
  await client.revoke('demo', signed.grant_id);
  assert.ok((await fetch(signed.url)).status >= 400);
  assert.deepEqual(await client.grants('demo'), []);

  const stop = new AbortController();
  let upload;
  const given = client.upload('demo', random('given up', 400_000), {name: 'c.bin', signal: stop.signal, onProgress: (p) => {
    upload ??= p.upload;
    if (p.sent > 0) stop.abort();
  }});
  await assert.rejects(given, (err) => err.name === 'AbortError');
  const state = await client.uploadState('demo', upload);
  assert.deepEqual([state.name, state.size], ['c.bin', 400_000]);
  await client.dropUpload('demo', upload);
  await assert.rejects(client.uploadState('demo', upload), (err) => err.code === 'upload-not-found');
  assert.equal((await client.serverCapabilities()).hash, 'blake3-256');
  await assert.rejects(client.preview('demo', file.id, {width: 10}), (err) => err.code === 'transform-not-available');
});

test('operators have keys, reports and collections', async (t) => {
  const server = await serve(t);
  const client = new Client({server: server.url});
  const operator = new Operator({server: server.url});
  const file = await client.upload('demo', random('report', 300_000), {name: 'a.bin'});

  const key = await operator.createKey({name: 'backup', buckets: ['demo'], operations: ['read', 'list'], expires_in: '1h'});
  assert.deepEqual((await operator.keys()).map((k) => [k.id, k.name, k.token]), [[key.id, 'backup', undefined]]);
  const byKey = new Client({server: server.url, getToken: () => key.token});
  assert.equal((await byKey.list('demo')).files.length, 1);
  await operator.deleteKey(key.id);
  assert.deepEqual(await operator.keys(), []);
  assert.equal((await operator.explain({bucket: 'demo', operation: 'read', id: file.id, auth: {id: 'ann'}})).bucket, 'demo');
  assert.match(await operator.rotateSigningKeys({drop_old: true}), /./);
  assert.deepEqual(await operator.hosts(), []);
  await assert.rejects(operator.host('blog'), CairnError);
  await assert.rejects(operator.forgetHost('blog'), CairnError);

  const seen = [];
  assert.deepEqual((await operator.reportUsage({top: 1, onProgress: (w) => seen.push(w.phase)})).files, 1);
  assert.equal((await operator.reportDedup()).logical_bytes, 300_000);
  assert.equal((await operator.reportFragmentation()).files, 1);
  assert.ok((await operator.reportGarbage()).backends);
  assert.ok(await operator.reportOrphans());
  assert.equal((await operator.explainStored({file: file.id})).kept, true);
  assert.equal((await operator.previewRemoval({delete: [`demo/${file.id}`]})).files, 1);
  await client.delete('demo', file.id, {permanent: true});
  const collected = await operator.collect({full: true});
  assert.equal(collected.dry_run, false);
  assert.equal((await operator.pauseCollect()).paused, true);
  assert.equal((await operator.resumeCollect()).paused, false);
  assert.ok((await operator.collectStatus()).last);
  const freed = [];
  for await (const f of operator.ledger()) freed.push(f);
  assert.equal(freed.reduce((n, f) => n + f.bytes, 0) > 0, collected.freed_bytes > 0);
  assert.equal((await operator.check({onFound: (p) => assert.fail(p.detail)})).ok, true);
  assert.equal((await operator.scrub({all: true})).ok, true);
  assert.ok((await operator.scrubStatus()).backends.length > 0);
  await assert.rejects(operator.migrate('demo', 'nowhere'), CairnError);
});
