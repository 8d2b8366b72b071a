/**
 * A file from a URL, through the cache: parts that are kept already come first, the rest over the network.
 *
 * A connection that breaks is taken up where it broke. A file that changed at the server is begun anew, as long as
 * nothing of it was handed out.
 */
import { MoteError, check, unlessAborted } from './error.js';
import { Reading } from './reading.js';
import { Sha256 } from './sha256.js';
import { type Entry, Shelf } from './shelf.js';
import type { Opened, Room } from './source.js';
import { PART, type Writing, store } from './store.js';
import type { FetchOptions, Progress } from './types.js';

type Options = Pick<FetchOptions, 'headers' | 'sha256' | 'cache'> & { signal: AbortSignal; headerOnly?: boolean; room?: Room };
type Piece = { bytes: Uint8Array; phase: Progress['phase'] };

/** Milliseconds before each new attempt. A piece that arrives forgives all that failed before. */
const PATIENCE = [250, 1000, 2000, 4000, 8000];

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
  let { entry, parts, whole } = await kept(shelf);
  if (options.headerOnly && parts === 0) {
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
    if (alone) ({ entry, parts, whole } = await kept(shelf));
    let remote: Remote | undefined;
    if (!whole || options.cache === 'revalidate') {
      try {
        remote = await Remote.open(url, parts * PART, options, whole ? entry : undefined);
      } catch (error) {
        // Offline, what is here is as good as it gets.
        if (!whole || (error as MoteError).code !== 'network') throw error;
      }
      if (remote && entry && !remote.continues(entry, parts * PART)) {
        if (alone) await shelf.delete();
        // The answer at hand may be about the middle of the file, or without its bytes.
        if (whole || remote.start > 0) remote = await Remote.open(url, 0, options);
        [parts, whole] = [0, false];
      }
    }
    if (whole && alone) {
      options = { ...options, signal };
      release = shelf.reading();
      alone.release();
    }
    const size = whole ? entry!.size : remote!.size;
    const pieces = fromShelf({ shelf, parts, remote: whole ? undefined : remote, size, entry, room }, options, release);
    return { size, pieces };
  } catch (error) {
    release();
    throw error;
  }
}

/** What there is of a file. */
async function kept(shelf: Shelf) {
  const entry = await shelf.entry();
  const parts = entry ? await shelf.parts(entry) : 0;
  return { entry, parts, whole: entry !== undefined && parts * PART >= entry.size };
}

/** What a download goes on from. */
interface Begun {
  shelf: Shelf;
  /** Whole parts in the cache. */
  parts: number;
  /** Where the rest comes from, if there is one. */
  remote: Remote | undefined;
  size: number | undefined;
  entry: Entry | undefined;
  /** What the browser's storage has left, for whoever may write. */
  room: Promise<StorageEstimate> | undefined;
}

async function* fromShelf({ shelf, parts, remote, size, entry, room }: Begun, options: Options, release: () => void): AsyncGenerator<Piece, void, void> {
  const hash = options.sha256 === undefined ? undefined : new Sha256();
  try {
    for await (const bytes of shelf.read(parts, options.room)) {
      check(options.signal);
      hash?.update(bytes);
      yield { bytes, phase: 'cache' };
    }
    if (!remote) {
      await shelf.note({ ...entry!, complete: true, used: Date.now() }).catch(() => {});
    } else {
      const keeper = room && (await Keeper.begin(shelf, parts, size, remote.version, room, options.cache === 'required'));
      try {
        for await (const piece of remote.pieces(parts * PART)) {
          hash?.update(piece.bytes);
          await keeper?.take(piece.bytes);
          yield piece;
        }
        if (!hash || hash.finish() === options.sha256!.toLowerCase()) return await keeper?.finish();
      } finally {
        await keeper?.drop();
      }
      await mismatch(shelf);
    }
    if (hash && hash.finish() !== options.sha256!.toLowerCase()) await mismatch(shelf);
  } finally {
    await remote?.close();
    release();
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

/** Keeps what arrives, in parts. */
class Keeper {
  /** The part that is written. */
  private part: Writing | undefined;
  private filled = 0;
  private gaveUp = false;

  private constructor(
    private readonly shelf: Shelf,
    private parts: number,
    private readonly entry: Entry,
    private readonly required: boolean,
  ) {}

  /** Nothing when there is no room, or a file of unknown size, unless keeping it is required. */
  static async begin(shelf: Shelf, parts: number, size: number | undefined, version: string | undefined, room: Promise<StorageEstimate>, required: boolean) {
    try {
      if (size === undefined) throw new MoteError('quota', 'the server does not say how large the file is');
      const missing = size - parts * PART;
      const { quota = Infinity, usage = 0 } = await room;
      if (missing > quota - usage) {
        throw new MoteError('quota', `the file takes ${missing} bytes more, and the browser's storage has ${quota - usage} left`);
      }
      return new Keeper(shelf, parts, { url: shelf.url, size, version, complete: false, used: Date.now() }, required);
    } catch (error) {
      if (required) throw MoteError.from(error, 'quota');
      return undefined;
    }
  }

  async take(bytes: Uint8Array): Promise<void> {
    for (let at = 0; at < bytes.length && !this.gaveUp; ) {
      const piece = bytes.subarray(at, at + PART - this.filled);
      at += piece.length;
      await this.trying(async () => {
        const part = (this.part ??= await this.begin());
        part.take(piece);
        this.filled += piece.length;
        if (this.filled === PART) await this.end();
      });
    }
  }

  async finish(): Promise<void> {
    if (this.gaveUp) return;
    await this.trying(async () => {
      await this.end();
      await this.shelf.note({ ...this.entry, complete: true, used: Date.now() });
    });
  }

  /** Nothing more comes. A part that was begun is too short to be there; without others, nothing is. */
  async drop(): Promise<void> {
    if (!this.part) return;
    this.part.drop();
    this.part = undefined;
    if (this.parts === 0) await this.shelf.delete().catch(() => {});
  }

  /** One after the other: Chromium sometimes stands still when a handle writes while another file is being opened. */
  private async begin(): Promise<Writing> {
    if (this.parts === 0) await this.shelf.note(this.entry);
    const part = await this.shelf.keep(this.parts);
    if (this.gaveUp) part.drop();
    return part;
  }

  private async end(): Promise<void> {
    await this.part?.end();
    this.part = undefined;
    this.parts += 1;
    this.filled = 0;
  }

  /** The estimate of free space is only an estimate, and storage may not answer. */
  private async trying(write: () => Promise<void>): Promise<void> {
    try {
      await inTime(write());
    } catch (error) {
      this.gaveUp = true;
      await inTime(this.drop().then(() => this.shelf.delete())).catch(() => {});
      if (this.required) throw MoteError.from(error, 'quota');
    }
  }
}

async function inTime(work: Promise<void>): Promise<void> {
  const error = new MoteError('environment', `the browser's storage has not answered for ${STORAGE_PATIENCE / 1000} seconds`);
  let timer: ReturnType<typeof setTimeout>;
  const late = new Promise<never>((_, reject) => (timer = setTimeout(reject, STORAGE_PATIENCE, error)));
  return Promise.race([work, late]).finally(() => clearTimeout(timer));
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
