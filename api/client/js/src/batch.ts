const smallest = 64 * 1024; // about one chunk
const largest = 8 * 1024 * 1024;
const share = 8; // a request may be as large as this part of what has moved
const patience = 8000; // milliseconds

/**
 * Says how large the next request of an upload may be. Progress moves when a request is answered, so on a slow line
 * requests must be small, and on a fast one with long ways they must be large. How fast a line is cannot be told in
 * advance, and measuring it misleads: a proxy takes the bytes at once, a laptop sleeps. So sizes follow what has moved.
 * The first requests have a chunk or a few, and none is larger than an eighth of what the server has acknowledged. A
 * request then takes an eighth of the time that all before it took together, times the requests side by side, whatever
 * the line.
 *
 * A request that broke off halves the size, and so does one whose answer took long, since 8 MiB would take minutes on
 * a slow line and be lost as a whole. A clock that misleads here costs a few more requests and nothing else.
 */
export class BatchSize {
  private moved = 0;

  /** Bytes that the next request may have. A chunk that is larger is sent alone. */
  get limit(): number {
    return Math.min(largest, Math.max(smallest, Math.floor(this.moved / share)));
  }

  /** A request was answered after so many milliseconds. */
  answered(bytes: number, took: number): void {
    if (took > patience) this.halve(bytes);
    else this.moved = Math.min(share * largest, this.moved + bytes);
  }

  /** A request broke off. */
  broken(bytes: number): void {
    this.halve(bytes);
  }

  private halve(bytes: number): void {
    this.moved = Math.min(this.moved, share * Math.floor(bytes / 2));
  }
}
