/**
 * A file from a URL, through the cache: what is kept already comes first, the rest over the network.
 *
 * A connection that breaks is taken up where it broke. A file that changed at the server is begun anew, as long as
 * nothing of it was handed out.
 */
import { MoteError, check, unlessAborted, within } from './error.js';
import { Reading } from './reading.js';
import { Sha256 } from './sha256.js';
import { type Entry, Shelf } from './shelf.js';
import type { Opened, Room } from './source.js';
import { type Writing, store } from './store.js';
import type { FetchOptions, Progress } from './types.js';

type Options = Pick<FetchOptions, 'headers' | 'sha256' | 'cache'> & { signal: AbortSignal; headerOnly?: boolean; room?: Room };
type Piece = { bytes: Uint8Array; phase: Progress['phase'] };

/** Milliseconds before each new attempt. A piece that arrives forgives all that failed before. */
const PATIENCE = [250, 1000, 2000, 4000, 8000];

/** How long after its last byte a file is closed, in milliseconds: that stops a worker for up to half a second in Chromium, and
 * a first token comes before. */
const CLOSING = 500;

/** Bytes that may wait for their file to be opened. */
const EARLY = 2 << 20;

/** How long the browser's storage may take for one thing, in milliseconds: Chromium's stands still for ever at times. */
const STORAGE_PATIENCE = 10_000;

export async function download(url: string, options: Options): Promise<Opened> {
  const files = options.cache === false || !/^https?:/.test(url) ? undefined : await store();
  if (!files) {
    if (options.cache === 'required') throw new MoteError('quota', 'this page has no storage to keep files in');
    const remote = await Remote.open(url, 0, { ...options, cache: false });
    return { size: remote.size, pieces: verified(remote.pieces(0), options) };
  }
  const shelf = await Shelf.of(files, url);
  let { entry, at, whole } = await kept(shelf);
  // Somebody may be writing what there is of it.
  if (options.headerOnly && !whole) {
    const remote = await Remote.open(url, 0, options);
    return { size: remote.size, pieces: remote.pieces(0) };
  }
  // Two tabs that want the same file: the second waits, and then finds it here.
  const writes = !options.headerOnly && (!whole || options.cache === 'reload' || options.cache === 'revalidate');
  const alone = writes ? await shelf.alone(options.signal) : undefined;
  const { signal } = options;
  let release = alone?.release ?? shelf.reading();
  if (alone) options = { ...options, signal: alone.signal };
  try {
    // Asked for beside the server, which takes as long.
    const room = alone && navigator.storage.estimate();
    room?.catch(() => {});
    if (alone && options.cache === 'reload') await shelf.delete();
    if (alone) ({ entry, at, whole } = await kept(shelf));
    let remote: Remote | undefined;
    if (!whole || options.cache === 'revalidate') {
      try {
        remote = await Remote.open(url, at, options, whole ? entry : undefined);
      } catch (error) {
        // Offline, what is here is as good as it gets.
        if (!whole || (error as MoteError).code !== 'network') throw error;
      }
      if (remote && entry && !remote.continues(entry, at)) {
        if (alone) await shelf.delete();
        // The answer at hand may be about the middle of the file, or without its bytes.
        if (whole || remote.start > 0) remote = await Remote.open(url, 0, options);
        [at, whole] = [0, false];
      }
    }
    if (whole && alone) {
      options = { ...options, signal };
      release = shelf.reading();
      alone.release();
    }
    const size = whole ? entry!.size : remote!.size;
    const pieces = fromShelf({ shelf, at, remote: whole ? undefined : remote, size, entry, room }, options, release);
    await pieces.next();
    return { size, pieces };
  } catch (error) {
    release();
    throw error;
  }
}

/** What there is of a file. */
export async function kept(shelf: Shelf) {
  const entry = await shelf.entry();
  const at = entry ? shelf.keeps(entry, await shelf.stored(entry)) : 0;
  return { entry, at, whole: at === entry?.size };
}

/** What a download goes on from. */
interface Begun {
  shelf: Shelf;
  /** Bytes that the cache has. */
  at: number;
  /** Where the rest comes from, if there is one. */
  remote: Remote | undefined;
  size: number | undefined;
  entry: Entry | undefined;
  /** What the browser's storage has left, for whoever may write. */
  room: Promise<StorageEstimate> | undefined;
}

/** What is kept, and then what the server sends. The first piece is empty: only what has begun can be ended, which lets others
 * have the file, also where nothing is read of it. */
async function* fromShelf({ shelf, at, remote, size, entry, room }: Begun, options: Options, release: () => void): AsyncGenerator<Piece, void, void> {
  const hash = options.sha256 === undefined ? undefined : new Sha256();
  // What nobody who reads has to wait for.
  let last: Promise<void> = Promise.resolve();
  try {
    yield { bytes: new Uint8Array(), phase: 'cache' };
    if (at > 0) {
      for await (const bytes of shelf.read(entry!, at, options.room)) {
        check(options.signal);
        hash?.update(bytes);
        yield { bytes, phase: 'cache' };
      }
    }
    let keeper: Keeper | undefined;
    let right = false;
    let wanted = false;
    try {
      if (remote) {
        const part = at > 0 ? entry!.part : shelf.partOf(size ?? 0);
        const file = { url: shelf.url, size, version: remote.version, part };
        keeper = room && (await Keeper.begin(shelf, at, file, room, options.cache === 'required'));
        for await (const piece of remote.pieces(at)) {
          hash?.update(piece.bytes);
          await keeper?.take(piece.bytes);
          yield piece;
        }
      }
      right = !hash || hash.finish() === options.sha256!.toLowerCase();
    } catch (error) {
      wanted = true;
      throw error;
    } finally {
      // Who just stops reading, without an abort, has found that the file is of no use.
      if (!right) await keeper?.drop(wanted || options.signal.aborted);
    }
    if (!right) await mismatch(shelf);
    await keeper?.finish();
    if (options.cache === 'required') keeper?.close();
    else if (keeper) last = pause(CLOSING, options.signal).catch(() => {}).then(() => keeper.close());
    if (!remote) last = shelf.note({ ...entry!, used: Date.now() }).catch(() => {});
  } finally {
    await remote?.close();
    void last.then(release);
  }
}

async function* verified(pieces: AsyncIterable<Piece>, { sha256 }: Options): AsyncGenerator<Piece, void, void> {
  const hash = sha256 === undefined ? undefined : new Sha256();
  for await (const piece of pieces) {
    hash?.update(piece.bytes);
    yield piece;
  }
  if (hash && hash.finish() !== sha256!.toLowerCase()) await mismatch();
}

async function mismatch(shelf?: Shelf): Promise<never> {
  await shelf?.delete().catch(() => {});
  throw new MoteError('integrity', 'the file is not the one that was asked for: its SHA-256 is another');
}

/** A file as a server tells of it. */
type Told = Omit<Entry, 'size' | 'used'> & { size: number | undefined };

/** Keeps what arrives, in parts. */
class Keeper {
  /** Bytes of the file that were written so far. */
  private at: number;
  /** The part that is written. */
  private part: Writing | undefined;
  /** The first one opens while bytes come, of which some wait for it. */
  private readonly opening: Promise<void>;
  private isOpen = false;
  private early: Uint8Array[] = [];
  private gaveUp = false;

  private constructor(
    private readonly shelf: Shelf,
    private readonly start: number,
    private readonly entry: Entry,
    private readonly required: boolean,
  ) {
    this.at = start;
    const begin = async () => void (await Promise.all([shelf.note(entry), this.open()]));
    this.opening = this.trying(begin).finally(() => (this.isOpen = true));
    this.opening.catch(() => {}); // Told to whoever brings them.
  }

  /** Nothing when there is no room, or a file of unknown size, unless keeping it is required. */
  static async begin(shelf: Shelf, at: number, file: Told, room: Promise<StorageEstimate>, required: boolean) {
    try {
      const { size } = file;
      if (size === undefined) throw new MoteError('quota', 'the server does not say how large the file is');
      const { quota = Infinity, usage = 0 } = await room;
      if (size - at > quota - usage) {
        throw new MoteError('quota', `the file takes ${size - at} bytes more, and the browser's storage has ${quota - usage} left`);
      }
      return new Keeper(shelf, at, { ...file, size, used: Date.now() }, required);
    } catch (error) {
      if (required) throw MoteError.from(error, 'quota');
      return undefined;
    }
  }

  async take(bytes: Uint8Array): Promise<void> {
    if (!this.isOpen && this.early.reduce((sum, { length }) => sum + length, bytes.length) <= EARLY) {
      this.early.push(bytes.slice());
      return;
    }
    await this.opened();
    await this.write(bytes);
  }

  /** All bytes came; they are there when this is done. */
  async finish(): Promise<void> {
    await this.opened();
    await this.trying(async () => this.part?.end());
  }

  /** Nothing more comes. What is there stays, if that is anything and the file is `wanted` or was begun before. */
  async drop(wanted: boolean): Promise<void> {
    await this.opened().catch(() => {});
    this.close();
    if (this.gaveUp || ((wanted || this.start > 0) && this.shelf.keeps(this.entry, this.at) > 0)) return;
    await inTime(this.shelf.delete()).catch(() => {});
  }

  close(): void {
    this.part?.close();
    this.part = undefined;
  }

  private async opened(): Promise<void> {
    await this.opening;
    for (let bytes = this.early.shift(); bytes; bytes = this.early.shift()) await this.write(bytes);
  }

  private async write(bytes: Uint8Array): Promise<void> {
    const { part, size } = this.entry;
    for (let from = 0; from < bytes.length && !this.gaveUp; ) {
      const piece = bytes.subarray(from, from + part - (this.at % part));
      from += piece.length;
      await this.trying(async () => {
        if (!this.part) await this.open();
        this.part!.take(piece);
        this.at += piece.length;
        if (this.at % part > 0 || this.at === size) return;
        await this.part!.end();
        this.close();
      });
    }
  }

  /** Chromium's storage sometimes stands still where a file is opened while another is written, or was just closed. */
  private async open(): Promise<void> {
    const part = await this.shelf.keep(this.entry, this.at);
    if (this.gaveUp) part.close();
    else this.part = part;
  }

  /** The estimate of free space is only an estimate, and storage may not answer. */
  private async trying(write: () => Promise<void>): Promise<void> {
    if (this.gaveUp) return;
    try {
      await inTime(write());
    } catch (error) {
      this.gaveUp = true;
      this.close();
      await inTime(this.shelf.delete()).catch(() => {});
      if (this.required) throw MoteError.from(error, 'quota');
    }
  }
}

function inTime(storing: Promise<void>): Promise<void> {
  return within(STORAGE_PATIENCE, "the browser's storage", storing);
}

/** A file at a server, read from `start`. */
class Remote {
  private reading: Reading | undefined;

  private constructor(
    private readonly url: string,
    private readonly options: Options,
    private response: Response,
    readonly start: number,
    /** Bytes of the whole file, where the server says. */
    readonly size: number | undefined,
    readonly version: string | undefined,
  ) {}

  /** Asks for the bytes from `start`; the answer may begin at 0 all the same. With `known`, only whether it changed. */
  static async open(url: string, start: number, options: Options, known?: Entry): Promise<Remote> {
    const range = start > 0 ? { range: `bytes=${start}-` } : {};
    let response = known ? await get(url, options, {}, 'HEAD') : await get(url, options, range);
    if (!known && start === 0 && response.headers.has('content-encoding')) {
      // Compressed on the way, its size is unknown; ranges usually are not compressed.
      await response.body?.cancel();
      response = await get(url, options, { range: 'bytes=0-' });
    }
    if (response.status === 416) {
      await response.body?.cancel();
      return Remote.open(url, 0, options);
    }
    const from = response.status === 206 ? start : 0;
    return new Remote(url, options, response, from, sizeOf(response, from), versionOf(response));
  }

  /** Whether this is the version that was begun, and goes on where that stopped. */
  continues(entry: Entry, at: number): boolean {
    const same = this.size === entry.size && (!this.version || !entry.version || this.version === entry.version);
    return same && (this.start === at || at >= entry.size);
  }

  async close(): Promise<void> {
    await (this.reading ?? this.response.body)?.cancel().catch(() => {});
  }

  /** The bytes from `at` on, through broken connections. */
  async *pieces(at: number): AsyncGenerator<Piece, void, void> {
    let failures = 0;
    let skip = at - this.start;
    try {
      for (;;) {
        const reading = (this.reading = new Reading(this.response.body!));
        let broke: unknown;
        try {
          for (let piece = await reading.next(); piece; piece = await reading.next()) {
            failures = 0;
            const bytes = piece.subarray(skip);
            skip = Math.max(0, skip - piece.length);
            if (bytes.length === 0) continue;
            at += bytes.length;
            yield { bytes, phase: 'download' };
          }
        } catch (error) {
          if (error instanceof MoteError) throw error;
          broke = error;
        }
        if (this.size === undefined ? broke === undefined : at >= this.size) return;
        if (this.options.signal.aborted) throw MoteError.aborted(this.options.signal);
        for (;;) {
          if (failures >= PATIENCE.length) throw new MoteError('network', `the connection to ${this.url} broke after ${at} bytes`, broke);
          await pause(PATIENCE[failures]!, this.options.signal);
          failures += 1;
          const again = await Remote.open(this.url, at, this.options).catch((error: MoteError) => {
            if (error.code !== 'network') throw error;
            broke = error;
          });
          if (!again) continue;
          if (again.size !== this.size || again.version !== this.version) {
            throw new MoteError('network', `${this.url} changed while it was downloaded; load it again`);
          }
          this.response = again.response;
          skip = at - again.start;
          break;
        }
      }
    } finally {
      await this.close();
    }
  }
}

async function get(url: string, { headers, signal, cache: kept }: Options, more: Record<string, string>, method = 'GET'): Promise<Response> {
  // What is kept here, the browser need not keep once more: that takes a quarter of a first visit.
  const cache = kept === false ? 'default' : 'no-store';
  let response: Response;
  try {
    response = await fetch(url, { headers: { ...headers, ...more }, signal, method, cache });
  } catch (cause) {
    if (signal.aborted) throw MoteError.aborted(signal);
    throw new MoteError('network', `${url} could not be reached (offline, or the server allows no other site to read it)`, cause);
  }
  if (response.ok || response.status === 416) return response;
  await response.body?.cancel();
  throw new MoteError('network', `${url}: ${response.status} ${response.statusText}`);
}

/** Bytes of the whole file. Compressed on the way, its length is not what the header says. */
function sizeOf({ headers }: Response, from: number): number | undefined {
  const range = /\/(\d+)$/.exec(headers.get('content-range') ?? '');
  if (range) return Number(range[1]);
  const length = headers.get('content-length');
  return length === null || headers.has('content-encoding') ? undefined : from + Number(length);
}

function versionOf({ headers }: Response): string | undefined {
  return headers.get('etag') ?? headers.get('last-modified') ?? undefined;
}

async function pause(ms: number, signal: AbortSignal): Promise<void> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const over = new Promise<void>((resolve) => (timer = setTimeout(resolve, ms)));
  await unlessAborted(over, signal).finally(() => clearTimeout(timer));
}
