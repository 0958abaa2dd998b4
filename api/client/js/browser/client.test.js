// The client in a tab of a real browser, on a page of another origin than the server's.
import assert from 'node:assert/strict';
import {execFile} from 'node:child_process';
import {createHash} from 'node:crypto';
import {appendFile, mkdtemp, open, rm, stat, writeFile} from 'node:fs/promises';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {test} from 'node:test';
import {promisify} from 'node:util';
import {random} from '../test/inputs.js';
import {binary, proxy, scratch, serve, token} from '../test/server.js';
import {browser, build, host, tab, tabMemory} from './site.js';

const run = promisify(execFile);
const MiB = 1 << 20;

// A page, a server, and what they say to each other.
async function world(t, {seconds = 3600, dir} = {}) {
  const app = await build(t, 'browser/page');
  const origin = await host(t, join(app, 'dist'));
  const server = await serve(t, {users: true, origins: [origin], dir});
  const between = await proxy(t, server);
  const b = await browser(t);
  const w = {server, between, b, origin, asked: 0, files: await mkdtemp(join(tmpdir(), 'cairn-js-')), seconds};
  t.after(() => rm(w.files, {recursive: true, force: true}));
  w.tab = async (wrong) => {
    const page = await tab(t, b, origin, wrong);
    await page.exposeFunction('getToken', () => {
      w.asked++;
      return token('ann', w.seconds);
    });
    await page.waitForFunction(() => window.ready);
    return page;
  };
  w.file = async (name, bytes) => {
    const path = join(w.files, name);
    await writeFile(path, bytes);
    return path;
  };
  w.go = async (...args) => JSON.parse((await run(binary, [...args, '--json', '--server', between.url, '--token', token('ann')], {maxBuffer: 64 * MiB})).stdout);
  w.sent = () => between.seen.chunkBytes;
  return w;
}

const upload = (page, url, options) => page.evaluate(([url, options]) => window.upload(url, options), [url, options]);

test('what a page uploads is what Go uploads, versions send what changed, and files can be worked with', async (t) => {
  const w = await world(t);
  const wrong = [];
  const page = await w.tab(wrong);
  const workers = [];
  page.on('worker', (k) => workers.push(k.url()));
  const content = random('page', 64 * MiB);
  const path = await w.file('f.bin', content);
  await page.setInputFiles('#file', path);
  const f = await upload(page, w.between.url);
  assert.equal(f.version, 1);
  assert.equal(f.size, content.length);
  assert.ok(workers.length > 0, 'it was cut in a worker');
  assert.deepEqual(await page.evaluate(() => ({...window.progress})).then((p) => [p.scanned, p.sent, p.missing]), [content.length, content.length, content.length]);

  const before = w.sent();
  const same = await w.go('put', '--name', 'f.bin', path);
  assert.equal(same.sent_bytes, 0, 'Go cuts and hashes it the same');
  assert.equal(same.checksums.root, f.checksums.root);
  assert.equal(w.sent(), before);

  const changed = Buffer.concat([content.subarray(0, 5000), Buffer.alloc(100, '+'), content.subarray(5000)]);
  random('change', MiB).forEach((b, i) => (changed[32 * MiB + i] = b));
  await page.setInputFiles('#file', await w.file('f.bin', changed));
  const second = await upload(page, w.between.url, {onConflict: 'version'});
  assert.equal(second.version, 2);
  assert.ok(w.sent() - before < 2 * MiB, `${w.sent() - before} bytes sent for 1 MiB changed`);
  t.diagnostic(`64 MiB with 1 MiB changed and 100 bytes inserted: ${w.sent() - before} bytes sent`);

  const sha = createHash('sha256').update(changed).digest('hex');
  assert.equal(await page.evaluate(([url, id]) => window.digest(url, id, {verify: true}), [w.between.url, f.id]), sha);
  const seen = await page.evaluate(async ([url, id]) => {
    const c = window.client(url);
    const list = await c.list('demo');
    const stat = await c.stat('demo', id);
    const versions = await c.versions('demo', id);
    const signed = await c.sign('demo', id, {operation: 'download', expires_in: '1m'});
    const res = await fetch(new URL(signed.url, url));
    const size = (await res.arrayBuffer()).byteLength;
    const back = await c.restoreVersion('demo', id, 1);
    await c.delete('demo', id);
    const after = await c.list('demo');
    return {listed: list.files.map((f) => f.id), version: stat.version, versions: versions.map((v) => v.version), status: res.status, size, back: back.version, after: after.files.length};
  }, [w.between.url, f.id]);
  assert.deepEqual(seen, {listed: [f.id], version: 2, versions: [2, 1], status: 200, size: changed.length, back: 3, after: 0});
  assert.deepEqual(wrong, []);
});

test('an upload that is aborted and chosen again after a reload sends the rest', async (t) => {
  const w = await world(t);
  const content = random('resumed', 192 * MiB);
  const path = await w.file('f.bin', content);
  let page = await w.tab();
  await page.setInputFiles('#file', path);
  const ended = page.evaluate((url) => window.upload(url).then(() => 'done', (err) => err.name), w.between.url);
  await page.waitForFunction((n) => window.progress.sent > n, 48 * MiB);
  await page.evaluate(() => window.stop.abort());
  assert.equal(await ended, 'AbortError');
  const first = w.sent();
  assert.ok(first < content.length, 'it was under way');
  await page.setInputFiles('#file', path);
  void page.evaluate((url) => window.upload(url), w.between.url).catch(() => undefined); // the tab is closed
  await page.waitForFunction((n) => window.progress.sent > n, 48 * MiB);
  await page.close();
  page = await w.tab();
  await page.setInputFiles('#file', path);
  const f = await upload(page, w.between.url);
  assert.equal(f.checksums.sha256 ?? createHash('sha256').update(content).digest('hex'), createHash('sha256').update(content).digest('hex'));
  const inFlight = 2 * 4 * 8 * MiB; // four requests at each end
  assert.ok(w.sent() <= content.length * 1.01 + inFlight, `${w.sent()} bytes sent for ${content.length}`);
  t.diagnostic(`192 MiB, ended twice: ${w.sent()} bytes sent`);
  assert.equal(await page.evaluate(([url, id]) => window.digest(url, id), [w.between.url, f.id]), createHash('sha256').update(content).digest('hex'));
});

test('a token that expires while an upload is under way is asked for again', async (t) => {
  const w = await world(t, {seconds: 3});
  const page = await w.tab();
  await page.setInputFiles('#file', await w.file('f.bin', random('long', 256 * MiB)));
  const f = await upload(page, w.between.url);
  assert.equal(f.size, 256 * MiB);
  assert.ok(w.asked > 1, `getToken was called ${w.asked} times`);
});

test('a file that changes while it is uploaded is given up at once', async (t) => {
  const w = await world(t);
  const page = await w.tab();
  const path = await w.file('f.bin', random('changing', 256 * MiB));
  await page.setInputFiles('#file', path);
  const ended = page.evaluate((url) => window.upload(url).then(() => 'done', (err) => err.name), w.between.url);
  await page.waitForFunction((n) => window.progress.sent > n, 16 * MiB);
  const start = performance.now();
  await appendFile(path, 'more');
  assert.equal(await ended, 'SourceChangedError');
  t.diagnostic(`noticed after ${((performance.now() - start) / 1000).toFixed(1)} s`);
  await page.setInputFiles('#file', path);
  assert.equal((await upload(page, w.between.url)).size, 256 * MiB + 4);
});

// The file lies in memory, so that neither disk nor its cache is measured.
async function large(t, gigabytes) {
  const dir = await mkdtemp(join(scratch, 'cairn-js-'));
  t.after(() => rm(dir, {recursive: true, force: true}));
  const path = join(dir, 'large.bin');
  const part = random('large', 512 * MiB);
  const view = new DataView(part.buffer, part.byteOffset, part.length);
  for (let i = 0; i < gigabytes * 2; i++) {
    for (let at = 0; at < part.length; at += 8192) view.setUint32(at, i); // no chunk comes twice
    await appendFile(path, part);
  }
  return path;
}

test('a file of 5 GB is uploaded in bounded memory', async (t) => {
  const w = await world(t, {dir: await mkdtemp(join(tmpdir(), 'cairn-js-'))}); // memory has not room for both
  const path = await large(t, 5);
  const page = await w.tab();
  await page.setInputFiles('#file', path);
  const idle = await tabMemory();
  let most = 0;
  const watch = setInterval(async () => (most = Math.max(most, await tabMemory())), 200);
  t.after(() => clearInterval(watch));
  const start = performance.now();
  const f = await upload(page, w.between.url);
  const seconds = (performance.now() - start) / 1000;
  const {size} = await stat(path);
  assert.equal(f.size, size);
  assert.ok(w.sent() >= size, `${w.sent()} bytes sent`);
  t.diagnostic(`5 GB in ${seconds.toFixed(1)} s: ${(size / 1e6 / seconds).toFixed(0)} MB/s; the tab took ${(idle / 1e6).toFixed(0)} MB before and at most ${(most / 1e6).toFixed(0)} MB`);
  assert.ok(most < 250e6, `the tab took ${(most / 1e6).toFixed(0)} MB`);

  const scan = await page.evaluate((url) => window.scan(url), w.between.url);
  t.diagnostic(`cut and hashed alone: ${(size / 1e6 / scan.seconds).toFixed(0)} MB/s in ${scan.chunks} chunks`);

  const file = await open(path, 'r+'); // a version of it is a matter of what changed
  await file.write(random('changed', MiB), 0, MiB, 1 << 30);
  await file.close();
  const before = w.sent();
  await page.setInputFiles('#file', path);
  await upload(page, w.between.url, {onConflict: 'version'});
  assert.ok(w.sent() - before < 2 * MiB, `${w.sent() - before} bytes sent for 1 MiB changed`);
});
