// How large requests of an upload are.
import assert from 'node:assert/strict';
import {test} from 'node:test';
import {BatchSize} from '../dist/batch.js';
import {Client} from '../dist/index.js';
import {random} from './inputs.js';
import {bytesOf, proxy, serve} from './server.js';

const KiB = 1024, MiB = 1024 * KiB;

test('the size of requests follows what has moved', () => {
  const size = new BatchSize();
  assert.equal(size.limit, 64 * KiB);
  let moved = 0, requests = 0;
  for (; size.limit < 8 * MiB; requests++) {
    assert.ok(size.limit <= Math.max(64 * KiB, moved / 8));
    moved += size.limit;
    size.answered(size.limit, 10);
  }
  assert.ok(moved <= 72 * MiB && requests < 80, `${moved} bytes in ${requests} requests until they are as large as they become`);
  size.answered(8 * MiB, 10);
  assert.equal(size.limit, 8 * MiB);

  size.broken(8 * MiB);
  assert.equal(size.limit, 4 * MiB, 'half as large after one that broke off');
  size.broken(8 * MiB);
  assert.equal(size.limit, 4 * MiB, 'those beside it say the same');
  size.answered(4 * MiB, 60_000);
  assert.equal(size.limit, 2 * MiB, 'and after one that took long');
  size.answered(MiB, 7999);
  assert.ok(size.limit > 2 * MiB);
  for (let i = 0; i < 20; i++) size.broken(size.limit);
  assert.equal(size.limit, 64 * KiB);
});

test('the first requests are small, and one that breaks off is halved', async (t) => {
  const server = await serve(t);
  const whole = (r) => Number(r.headers['content-length']);
  const p = await proxy(t, server, (r) => {
    if (r.kind !== 'chunks') return undefined;
    return r.n === 40 ? {cut: 1000} : undefined;
  });
  const content = Buffer.from(random('small', 12 * MiB));
  const steps = [0];
  const file = await new Client({server: p.url}).upload('demo', content, {name: 'small.bin', worker: false, onProgress: (s) => steps.push(s.sent)});
  const sizes = p.seen.requests.filter((r) => r.kind === 'chunks').map(whole);
  const chunk = 256 * KiB + 40;
  let before = 0;
  for (const [i, size] of sizes.entries()) {
    assert.ok(size <= Math.max(64 * KiB, before / 8) + chunk, `request ${i} has ${size} bytes after ${before}`);
    before += size;
  }
  assert.ok(sizes.length > 20, `${sizes.length} requests`);
  assert.ok(before < content.length + 2 * MiB + sizes.length * 40 * 40, 'the half that was not tried again is sent once');
  assert.ok((await bytesOf(await new Client({server: server.url}).download('demo', file.id))).equals(content));
});
