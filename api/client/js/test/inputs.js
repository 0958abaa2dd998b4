// Inputs that are the same on every run.
import {createCipheriv, createHash} from 'node:crypto';
import {blake3} from '@noble/hashes/blake3.js';

export const repository = new URL('../../../../', import.meta.url);

/** The first bytes of the BLAKE3 XOF output for a text. */
export function stream(seed, length) {
  return blake3.create({}).update(new TextEncoder().encode(seed)).xof(length);
}

const words = ['the ', 'chunk', ' of ', 'a store', '.\n', 'return ', '  ', 'func', '(x)', ' = ', '0', 'content', ', ', 'byte', ' and ', '{}\n\t'].map((w) => new TextEncoder().encode(w));

/** The inputs that chunker/FORMAT.md describes, so many bytes of each. */
export function golden(length) {
  const random = stream('cairn golden', length);
  const prose = new Uint8Array(length);
  for (let i = 0, at = 0; at < length; i++) {
    const w = words[random[i] % 16];
    prose.set(w.subarray(0, length - at), at);
    at += w.length;
  }
  const sparse = random.map((b, i) => {
    const t = Math.floor(i / 65536) % 3;
    return t === 2 || (t === 1 && b >= 8) ? 0 : b;
  });
  return {random, prose, sparse};
}

/** Bytes that look random, a name's own, made quickly. */
export function random(name, length) {
  const key = createHash('sha256').update(name).digest();
  return new Uint8Array(createCipheriv('aes-256-ctr', key, Buffer.alloc(16)).update(Buffer.alloc(length)));
}
