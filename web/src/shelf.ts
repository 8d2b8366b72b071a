/** The files in the [store](store.ts): what is there of each, and who may write. */
import { MoteError } from './error.js';
import type { Room } from './source.js';
import { type Opened, PART, type Store, type Writing } from './store.js';

/** Parts that are opened ahead of the one that is read. */
const AHEAD = 4;

/** A file that is kept, or begun. */
export interface Entry {
  url: string;
  /** Bytes of the file. */
  size: number;
  /** What the server called this version of it. */
  version: string | undefined;
  /** Whether all of it is here. */
  complete: boolean;
  /** When it was used last, in milliseconds since 1970. */
  used: number;
}

/** One file's place in the store. */
export class Shelf {
  private constructor(
    private readonly store: Store,
    private readonly key: string,
    readonly url: string,
  ) {}

  static async of(store: Store, url: string): Promise<Shelf> {
    const hash = new Uint8Array(await crypto.subtle.digest('SHA-256', new TextEncoder().encode(url)));
    const key = Array.from(hash.subarray(0, 16), (byte) => byte.toString(16).padStart(2, '0')).join('');
    return new Shelf(store, key, url);
  }

  /** Every file in `store`, with the bytes that are kept of it. */
  static async all(store: Store): Promise<{ shelf: Shelf; entry: Entry; stored: number }[]> {
    const found = await Promise.all(
      (await store.keys()).map(async (key) => {
        const entry = await readEntry(store, key);
        // What a killed tab left before it could say what it is.
        if (!entry) return void (await store.delete(key));
        const shelf = new Shelf(store, key, entry.url);
        return { shelf, entry, stored: entry.complete ? entry.size : Math.min((await shelf.parts(entry)) * PART, entry.size) };
      }),
    );
    return found.filter((file) => file !== undefined);
  }

  entry(): Promise<Entry | undefined> {
    return readEntry(this.store, this.key);
  }

  note(entry: Entry): Promise<void> {
    return this.store.write(this.key, 'entry.json', new TextEncoder().encode(JSON.stringify(entry)));
  }

  /** How many parts from the start are here, each of its full size. */
  async parts({ size }: Entry): Promise<number> {
    const all = Array.from({ length: Math.ceil(size / PART) }, async (_, n) => (await this.store.read(this.key, `${n}`))?.size === partSize(size, n));
    const here = await Promise.all(all);
    return here.includes(false) ? here.indexOf(false) : here.length;
  }

  /** The bytes of the first parts, in pieces that are there until the next one is asked for, where there is `room` for
   * them or elsewhere. Parts are opened while others are read: it takes longer than
   * to read one. */
  async *read(parts: number, room: Room | undefined): AsyncGenerator<Uint8Array, void, void> {
    const opening: Promise<Opened>[] = [];
    try {
      for (let n = 0, next = 0; n < parts; n++) {
        while (next < parts && next <= n + AHEAD) opening.push(this.open(next++));
        const part = await opening[0]!;
        try {
          yield* part.pieces(room);
        } finally {
          opening.shift();
          part.close();
        }
      }
    } catch (cause) {
      throw new MoteError('integrity', `a part of ${this.url} left the cache while it was read`, cause);
    } finally {
      for (const next of opening) (await next.catch(() => undefined))?.close();
    }
  }

  private open(n: number): Promise<Opened> {
    const opening = this.store.open(this.key, `${n}`);
    opening.catch(() => {}); // Told when its turn comes.
    return opening;
  }

  /** Begins to keep a part. */
  keep(n: number): Promise<Writing> {
    return this.store.begin(this.key, `${n}`);
  }

  delete(): Promise<void> {
    return this.store.delete(this.key);
  }

  /** Waits until no other tab writes this file. Until what it returns is called, this one may. */
  async alone(signal: AbortSignal): Promise<() => void> {
    if (!globalThis.navigator?.locks) return () => {};
    return new Promise((resolve, reject) => {
      const held = () => new Promise<void>((release) => resolve(release));
      navigator.locks.request(`motelm file ${this.key}`, { signal }, held).catch(reject);
    });
  }
}

async function readEntry(store: Store, key: string): Promise<Entry | undefined> {
  try {
    const text = await (await store.read(key, 'entry.json'))?.text();
    return text === undefined ? undefined : (JSON.parse(text) as Entry);
  } catch {
    return undefined;
  }
}

function partSize(size: number, n: number): number {
  return Math.min(PART, size - n * PART);
}
