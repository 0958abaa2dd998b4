// The cuts are the server's: chunker/testdata/golden.txt, with inputs rebuilt as chunker/FORMAT.md says.
import assert from 'node:assert/strict';
import {readFile} from 'node:fs/promises';
import {test} from 'node:test';
import {blake3} from '@noble/hashes/blake3.js';
import {hex, newHasher} from '../dist/digest.js';
import {parseSplitter} from '../dist/splitter.js';
import {gear64, gearHigh, gearLow} from '../dist/tables.js';
import {golden, repository, stream} from './inputs.js';

test('tables are those of the format', () => {
  const x = stream('github.com/cairn-store/cairn/chunker gear1 50', 2112);
  const v = new DataView(x.buffer, x.byteOffset, x.byteLength);
  assert.deepEqual(gearLow, Array.from({length: 16}, (_, i) => v.getUint16(2 * i, true)));
  assert.deepEqual(gearHigh, Array.from({length: 16}, (_, i) => v.getUint16(32 + 2 * i, true)));
  for (let i = 0; i < 256; i++) {
    assert.equal(gear64[2 * i + 1], v.getUint32(64 + 8 * i, true));
    assert.equal(gear64[2 * i], v.getUint32(68 + 8 * i, true));
  }
});

test('cuts are those of golden.txt', async () => {
  const lines = (await readFile(new URL('chunker/testdata/golden.txt', repository), 'utf8')).split('\n');
  const inputs = golden(8 << 20);
  let checked = 0;
  for (const line of lines) {
    if (line === '' || line.startsWith('#')) continue;
    const [kind, size, name, ...want] = line.split(' ');
    const p = inputs[kind].subarray(0, Number(size));
    assert.equal(p.length, Number(size));
    const got = [];
    const s = parseSplitter(name);
    for (let at = 0; at < p.length; ) {
      // No more than the longest chunk is looked at.
      const end = s.split(p, at, Math.min(p.length, at + s.max));
      got.push(String(end - at));
      at = end;
    }
    assert.deepEqual(got, want, `${kind} ${size} ${name}`);
    checked++;
  }
  assert.ok(checked >= 15, `${checked} lines`);
});

test('cuts are those of the definition, also of data made to pass the filter', () => {
  const names = ['gear1-64-64-4096-1-1', 'gear1-64-128-4096-13-1', 'gear1-64-256-1024-14-12', 'gear1-100-1000-8192-32-3', 'gear1-64-2000-9000-20-13', 'gear1-64-64-64-9-9'];
  const seed = stream('cairn client', 1 << 16);
  const short = new Uint8Array(1 << 16).map((_, i) => seed[i % 37]);
  for (const p of [seed, short, new Uint8Array(1 << 16), seed.map((b, i) => (i % 3 ? b & 1 : 0))]) {
    for (const name of names) {
      const s = parseSplitter(name);
      for (let at = 0, k = 0; at < p.length && k < 40; k++) {
        const end = s.split(p, at, p.length);
        assert.equal(end - at, slowCut(name, p.subarray(at)), `${name} at ${at}`);
        at = end;
      }
    }
  }
});

// slowCut is FORMAT.md's definition, word for word.
function slowCut(name, p) {
  const [min, normal, max, strict, loose] = name.split('-').slice(1).map(Number);
  const f = Math.min(loose, 12);
  const G = (b) => gearLow[b % 16] ^ gearHigh[b >> 4];
  const H = (n) => { let s = 0; for (let j = 0; j < 16; j++) s += G(p[n - 1 - j]) * 2 ** j; return s % 65536; };
  const C = (n) => (H(n) + 40503 * H(n - 16)) % 65536;
  const F = (n) => { let s = 0n; for (let j = 0; j < 64; j++) s += ((BigInt(gear64[2 * p[n - 1 - j]]) << 32n) + BigInt(gear64[2 * p[n - 1 - j] + 1])) << BigInt(j); return s & 0xffffffffffffffffn; };
  const candidate = (n, k) => C(n) >> (16 - f) === 0 && (k === f || F(n) >> BigInt(64 - (k - f)) === 0n);
  for (let n = min; ; n++) {
    if (n >= max || n >= p.length) return Math.min(max, p.length);
    if (candidate(n, n < normal ? strict : loose)) return n;
  }
}

test('names of splitters that are not understood are refused', () => {
  for (const name of ['', 'gear1', 'gear2-1-2-3-4-5', 'gear1-16384-65536-262144-15', 'gear1-63-65536-262144-15-13', 'gear1-16384-65536-262144-13-15', 'gear1-016384-65536-262144-15-13',
    'gear1-16384-65536-16777217-15-13', 'gear1-16384-65536-262144-33-13', 'fixed-0', 'fixed-16777217', 'fixed-1e3', 'fixed-1-2', 'Fixed-5', 'fixed--5', 'fixed- 5', 'gear1-16384-65536-262144-15-13\n']) {
    assert.throws(() => parseSplitter(name), RangeError, name);
  }
});

test('digests are BLAKE3-256', async () => {
  const h = await newHasher();
  assert.equal(hex(h.sum(new Uint8Array())), 'af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262');
  const p = stream('cairn client', 300000);
  for (const n of [1, 63, 64, 65, 1023, 1024, 1025, 2048, 16384, 65537, 262144, 300000]) {
    assert.equal(hex(h.sum(p.subarray(0, n))), hex(blake3(p.subarray(0, n))), `${n} bytes`);
    const kept = h.sum(p.subarray(7, n + 7));
    h.sum(p);
    assert.equal(hex(kept), hex(blake3(p.subarray(7, n + 7))), 'a digest is the caller\'s to keep');
  }
});
