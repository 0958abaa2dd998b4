import {gear64, gearHigh, gearLow} from './tables.js';

/**
 * Decides where chunks end, as package chunker of the server does;
 * chunker/FORMAT.md defines it. A splitter keeps no state.
 */
export interface Splitter {
  /** Names algorithm and parameters. Equal names mean equal cuts, for ever. */
  readonly name: string;
  /** Length in bytes of the longest possible chunk. */
  readonly max: number;
  /**
   * Returns where the first chunk of bytes[start, end) ends. The caller passes at
   * least max bytes, except at the end of the stream, and never none.
   */
  split(bytes: Uint8Array, start: number, end: number): number;
}

const maxChunk = 16 * 1024 * 1024;
const maxBits = 32;

/** Returns the splitter of a name that the server gave, such as gear1-16384-65536-262144-15-13. */
export function parseSplitter(name: string): Splitter {
  const [kind, ...fields] = name.split('-');
  const n = fields.map((f) => (/^[1-9][0-9]{0,8}$/.test(f) ? Number(f) : NaN));
  if (kind === 'fixed' && n.length === 1 && n[0] >= 1 && n[0] <= maxChunk) return new Fixed(name, n[0]);
  if (kind === 'gear1' && n.length === 5) {
    const [min, normal, max, strict, loose] = n;
    if (64 <= min && min <= normal && normal <= max && max <= maxChunk && 1 <= loose && loose <= strict && strict <= maxBits) {
      return new Gear(name, min, normal, max, strict, loose);
    }
  }
  throw new RangeError(`splitter ${JSON.stringify(name)} is not known to this client`);
}

class Fixed implements Splitter {
  constructor(readonly name: string, readonly max: number) {}

  split(_: Uint8Array, start: number, end: number): number {
    return Math.min(start + this.max, end);
  }
}

const half = 16; // bytes between the two halves of the filter's window
const halfMul = 0x9e37;
const window64 = 64;
const filterBits = 12;

// G<<16 and 0x9e37*G<<16 by byte value. In the upper half of 32 bits, numbers
// modulo 2^16 overflow by themselves.
const gearIn = new Int32Array(256);
const gearOut = new Int32Array(256);
for (let b = 0; b < 256; b++) {
  const g = gearLow[b & 15] ^ gearHigh[b >> 4];
  gearIn[b] = g << 16;
  gearOut[b] = Math.imul(halfMul, g) << 16;
}

/** The top n bits of 64, as upper and lower half. */
function leading(n: number): [number, number] {
  const top = (k: number) => (k <= 0 ? 0 : k >= 32 ? -1 : -1 << (32 - k));
  return [top(n), top(n - 32)];
}

class Gear implements Splitter {
  private readonly shift: number; // C<<16 passes the filter when nothing is left of it above this
  private readonly strictHigh: number;
  private readonly strictLow: number;
  private readonly looseHigh: number;
  private readonly looseLow: number;

  constructor(readonly name: string, private readonly min: number, private readonly normal: number, readonly max: number, strict: number, loose: number) {
    const filter = Math.min(loose, filterBits);
    this.shift = 32 - filter;
    [this.strictHigh, this.strictLow] = leading(strict - filter);
    [this.looseHigh, this.looseLow] = leading(loose - filter);
  }

  split(p: Uint8Array, start: number, end: number): number {
    end = Math.min(end, start + this.max);
    if (end - start <= this.min) return end;
    let n = start + this.min - 1;
    let c = 0;
    for (let i = n - half; i < n; i++) c = (c << 1) + gearIn[p[i]] + gearOut[p[i - half]];

    const shift = this.shift;
    const normal = start + this.normal;
    // F(n) in two halves, of bytes up to at. Bytes skipped do not matter: 64
    // steps drop all that was there before, so its steps never exceed the bytes passed.
    let high = 0, low = 0, at = start;
    for (;;) {
      // Four bytes a turn: twice as fast as one.
      candidate: {
        for (const last = end - 4; n <= last; n += 4) {
          c = ((c << 1) + gearIn[p[n]] + gearOut[p[n - half]]) | 0;
          if (c >>> shift === 0) { n += 1; break candidate; }
          c = ((c << 1) + gearIn[p[n + 1]] + gearOut[p[n + 1 - half]]) | 0;
          if (c >>> shift === 0) { n += 2; break candidate; }
          c = ((c << 1) + gearIn[p[n + 2]] + gearOut[p[n + 2 - half]]) | 0;
          if (c >>> shift === 0) { n += 3; break candidate; }
          c = ((c << 1) + gearIn[p[n + 3]] + gearOut[p[n + 3 - half]]) | 0;
          if (c >>> shift === 0) { n += 4; break candidate; }
        }
        for (; n < end; ) {
          c = ((c << 1) + gearIn[p[n]] + gearOut[p[n - half]]) | 0;
          n++;
          if (c >>> shift === 0) break candidate;
        }
        return end;
      }
      if (n === end) return end;
      for (at = Math.max(at, n - window64); at < n; at++) {
        const b = p[at] << 1;
        const sum = (low << 1 >>> 0) + gear64[b + 1];
        high = ((high << 1) + (low >>> 31) + gear64[b] + (sum > 0xffffffff ? 1 : 0)) | 0;
        low = sum | 0;
      }
      const strict = n < normal;
      if ((high & (strict ? this.strictHigh : this.looseHigh)) === 0 && (low & (strict ? this.strictLow : this.looseLow)) === 0) return n;
    }
  }
}
