/** The files in the [store](store.ts): what is there of each, and who may write. */
import { MoteError } from './error.js';
import type { Room } from './source.js';
import { type Opened, PART, type Store, type Writing } from './store.js';

/** Parts that are opened ahead of the one that is read. */
const AHEAD = 4;

/** Not everywhere where files can be kept: Deno has none. */
const locks = globalThis.navigator?.locks;

/** How long to wait for others to be done with a file that is to be deleted, in milliseconds. */
const PATIENCE = 5000;

/** A file that is kept, or begun. */
export interface Entry {
  url: string;
  /** Bytes of the file. */
  size: number;
  /** What the server called this version of it. */
  version: string | undefined;
  /** Bytes of each of its parts but the last, which may have fewer. */
  part: number;
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
        // What a killed tab left before it could say what it is; or what another is about to begin.
        if (!entry) return void (await new Shelf(store, key, '').deleteUnlessUsed());
        const shelf = new Shelf(store, key, entry.url);
        return { shelf, entry, stored: await shelf.stored(entry) };
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

  /** How many bytes from the start are here: whole parts, and what there is of the next one. */
  async stored({ size, part }: Entry): Promise<number> {
    const all = Array.from({ length: Math.ceil(size / part) }, async (_, n) => (await this.store.read(this.key, `${n}`))?.size ?? 0);
    let stored = 0;
    for (const [n, bytes] of (await Promise.all(all)).entries()) {
      const due = Math.min(part, size - n * part);
      // Nobody makes parts that are too long.
      stored += bytes > due ? 0 : bytes;
      if (bytes !== due) break;
    }
    return stored;
  }

  /** How many of the first `at` bytes can stay when this tab goes on behind them. */
  keeps({ size, part }: Entry, at: number): number {
    return this.store.appends || at === size ? at : at - (at % part);
  }

  /** Bytes of a part of a file that this tab begins. */
  partOf(size: number): number {
    return this.store.appends ? Math.max(1, size) : PART;
  }

  /** The file's first bytes, in pieces that are there until the next one is asked for, where there is `room` for them or
   * elsewhere. Parts are opened while others are read: it takes longer than to read one. */
  async *read({ part: size }: Entry, bytes: number, room: Room | undefined): AsyncGenerator<Uint8Array, void, void> {
    const parts = Math.ceil(bytes / size);
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

  /** Begins to keep what follows the file's first `at` bytes. */
  keep({ part }: Entry, at: number): Promise<Writing> {
    return this.store.begin(this.key, `${Math.floor(at / part)}`, at % part);
  }

  /** Deletes the file, for whoever is alone with it: what somebody has open cannot be deleted. */
  async delete(): Promise<void> {
    await this.store.delete(this.key).catch((cause) => this.busy(cause));
  }

  /** Deletes the file for whoever asks: a download of it ends, wherever it is, and who reads it is waited for. */
  async forget(): Promise<void> {
    if (!locks) return this.delete();
    const channel = new BroadcastChannel(this.lock);
    channel.postMessage('forget');
    channel.close();
    const waiting = { signal: AbortSignal.timeout(PATIENCE) };
    await locks.request(this.lock, waiting, () => this.store.delete(this.key)).catch((cause) => this.busy(cause));
  }

  private async deleteUnlessUsed(): Promise<void> {
    await locks?.request(this.lock, { ifAvailable: true }, (lock) => lock && this.delete()).catch(() => {});
  }

  private busy(cause: unknown): never {
    throw new MoteError('busy', `${this.url} is in use and cannot be deleted now`, cause);
  }

  /** Waits until nobody else writes or reads this file. */
  async alone(signal: AbortSignal): Promise<Alone> {
    if (!locks) return { signal, release() {} };
    const abort = new AbortController();
    const follow = () => abort.abort(signal.reason);
    signal.addEventListener('abort', follow);
    if (signal.aborted) follow();
    const channel = new BroadcastChannel(this.lock);
    channel.onmessage = () => abort.abort(new MoteError('aborted', `${this.url} was deleted while it was downloaded`));
    let release = () => {};
    const over = () => {
      signal.removeEventListener('abort', follow);
      channel.close();
      release();
    };
    try {
      await new Promise<void>((granted, refused) => {
        const held = () => new Promise<void>((released) => ((release = released), granted()));
        locks.request(this.lock, { signal: abort.signal }, held).catch(refused);
      });
    } catch (error) {
      over();
      throw abort.signal.aborted ? MoteError.aborted(abort.signal) : error;
    }
    return { signal: abort.signal, release: over };
  }

  /** Lets nobody write or delete this file until what it returns is called. Who was faster is noticed while reading. */
  reading(): () => void {
    const abort = new AbortController();
    const read = new Promise<void>((over) => abort.signal.addEventListener('abort', () => over()));
    locks?.request(this.lock, { mode: 'shared', signal: abort.signal }, () => read).catch(() => {});
    return () => abort.abort();
  }

  private get lock(): string {
    return `motelm file ${this.key}`;
  }
}

/** A file that only its holder writes. */
export interface Alone {
  /** Aborted when the caller's is, or when somebody wants the file deleted. */
  signal: AbortSignal;
  release(): void;
}

async function readEntry(store: Store, key: string): Promise<Entry | undefined> {
  try {
    const text = await (await store.read(key, 'entry.json'))?.text();
    const entry = text === undefined ? undefined : (JSON.parse(text) as Entry);
    return entry && entry.part > 0 ? entry : undefined;
  } catch {
    return undefined;
  }
}
