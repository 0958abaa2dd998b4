import {createBLAKE3} from 'hash-wasm';

export const digestSize = 32;

/** Computes BLAKE3-256, the digest that names a chunk by its plain bytes. */
export interface Hasher {
  sum(bytes: Uint8Array): Uint8Array;
}

/** Returns a hasher, which keeps its WebAssembly instance for all its sums. */
export async function newHasher(): Promise<Hasher> {
  const h = await createBLAKE3();
  return {sum: (bytes) => h.init().update(bytes).digest('binary')};
}

const digits = Array.from({length: 256}, (_, b) => b.toString(16).padStart(2, '0'));

/** Writes bytes as lower-case hexadecimal digits. */
export function hex(bytes: Uint8Array): string {
  let s = '';
  for (const b of bytes) s += digits[b];
  return s;
}
