/**
 * Where downloaded files are kept: in the origin's private file system, or else in the Cache API.
 *
 * A file is a folder of parts and an `entry.json` about them. A worker appends to files of the private file system, and
 * makes one part of all. Elsewhere parts have 8 MiB and are there whole or not at all. So a tab that is killed loses
 * at most the part that was under way, in every browser and in either store.
 */
import { PIECE, bytesOf } from './reading.js';
import type { Room } from './source.js';

export interface Store {
  /** Whether a part's bytes are there as soon as they are taken, and more can follow. */
  readonly appends: boolean;
  read(key: string, name: string): Promise<Blob | undefined>;
  /** Opens a file to read it from its beginning. */
  open(key: string, name: string): Promise<Opened>;
  /** Writes a file, all at once: it is there whole or not at all. */
  write(key: string, name: string, bytes: Uint8Array<ArrayBuffer>): Promise<void>;
  /** Begins a part, or goes on behind its first `at` bytes where this store [appends](Store.appends). */
  begin(key: string, name: string, at: number): Promise<Writing>;
  keys(): Promise<string[]>;
  /** Deletes a folder, if it is there; fails where somebody has one of its files open. */
  delete(key: string): Promise<void>;
}

/** A file that is open, until it is closed. */
export interface Opened {
  /** Its bytes, in pieces that are there until the next one is asked for, where there is `room` for them or elsewhere. */
  pieces(room: Room | undefined): AsyncIterable<Uint8Array> | Iterable<Uint8Array>;
  close(): void;
}

/** A part that is written. */
export interface Writing {
  /** Takes the next bytes, which are there only now. */
  take(bytes: Uint8Array): void;
  /** All bytes came; when it is done, they are there. */
  end(): Promise<void> | void;
  /** Lets go of the part, whether all bytes came or not. */
  close(): void;
}

/** Bytes of a part where parts are written as a whole. */
export const PART = 8 << 20;

let opened: Promise<Store | undefined> | undefined;

/** This origin's store; none outside of secure pages, and where the browser keeps nothing. */
export function store(): Promise<Store | undefined> {
  return (opened ??= openFiles().catch(openCache).catch(() => undefined));
}

const FOLDER = 'motelm';

async function openFiles(): Promise<Store> {
  const root = await navigator.storage.getDirectory();
  const all = await root.getDirectoryHandle(FOLDER, { create: true });
  const names = Object.getOwnPropertyNames(globalThis.FileSystemFileHandle?.prototype ?? {});
  if (!names.includes('createWritable') && !names.includes('createSyncAccessHandle')) throw new Error('files are read-only here');
  const streams = names.includes('createWritable');
  const appends = names.includes('createSyncAccessHandle');
  const create = async (key: string, name: string) => (await all.getDirectoryHandle(key, { create: true })).getFileHandle(name, { create: true });
  const files: Store = {
    appends,
    async read(key, name) {
      try {
        return await (await (await all.getDirectoryHandle(key)).getFileHandle(name)).getFile();
      } catch {
        return undefined;
      }
    },
    async open(key, name) {
      const handle = await (await all.getDirectoryHandle(key)).getFileHandle(name);
      // Faster than a stream through the browser's process; refused where another tab has one that does not share.
      const access = appends && (await direct(handle, { mode: 'read-only' }).catch(() => undefined));
      if (!access) return streamed(await handle.getFile());
      return { pieces: (room) => read(access, room), close: () => access.close() };
    },
    async write(key, name, bytes) {
      if (!streams) {
        const writing = await files.begin(key, name, 0);
        try {
          writing.take(bytes);
          await writing.end();
        } finally {
          writing.close();
        }
        return;
      }
      // What is written appears when the stream is closed, all at once.
      const stream = await (await create(key, name)).createWritable();
      await stream.write(bytes).catch(async (error: unknown) => {
        await stream.abort().catch(() => {});
        throw error;
      });
      return stream.close();
    },
    async begin(key, name, at) {
      return appends ? written(await direct(await create(key, name)), at) : gathered(files, key, name);
    },
    async keys() {
      const keys = [];
      for await (const key of all.keys()) keys.push(key);
      return keys;
    },
    async delete(key) {
      await all.removeEntry(key, { recursive: true }).catch((error: DOMException) => {
        if (error.name !== 'NotFoundError') throw error;
      });
    },
  };
  return files;
}

async function openCache(): Promise<Store> {
  const cache = await caches.open(FOLDER);
  const url = (key: string, name: string) => `https://motelm.invalid/${key}/${name}`;
  const keyOf = (request: Request) => new URL(request.url).pathname.split('/')[1]!;
  const files: Store = {
    appends: false,
    read: async (key, name) => (await cache.match(url(key, name)))?.blob(),
    open: async (key, name) => streamed(await (await cache.match(url(key, name)))!.blob()),
    write: (key, name, bytes) => cache.put(url(key, name), new Response(bytes)),
    begin: async (key, name) => gathered(files, key, name),
    keys: async () => [...new Set((await cache.keys()).map(keyOf))],
    async delete(key) {
      const requests = (await cache.keys()).filter((request) => keyOf(request) === key);
      await Promise.all(requests.map((request) => cache.delete(request)));
    },
  };
  return files;
}

/** Where a file can only be written as a whole. */
function gathered(store: Store, key: string, name: string): Writing {
  let part: Uint8Array<ArrayBuffer>;
  let filled = 0;
  return {
    take(bytes) {
      part ??= new Uint8Array(PART);
      part.set(bytes, filled);
      filled += bytes.length;
    },
    end: () => store.write(key, name, part.subarray(0, filled)),
    close: () => {},
  };
}

function written(access: Access, at: number): Writing {
  access.truncate(at);
  return {
    take(bytes) {
      if (access.write(bytes, { at }) < bytes.length) throw new DOMException('the disk is full', 'QuotaExceededError');
      at += bytes.length;
    },
    end: () => {},
    close: () => access.close(),
  };
}

function streamed(blob: Blob): Opened {
  return { pieces: () => bytesOf(blob), close: () => {} };
}

function* read(access: Access, room: Room | undefined): Generator<Uint8Array, void, void> {
  let own: Uint8Array | undefined;
  for (let at = 0, size = access.getSize(); at < size; ) {
    const buffer = room?.(Math.min(PIECE, size - at)) ?? (own ??= new Uint8Array(PIECE));
    const n = access.read(buffer, { at });
    if (n === 0) return;
    at += n;
    yield buffer.subarray(0, n);
  }
}

interface Access {
  getSize(): number;
  read(bytes: Uint8Array, options: { at: number }): number;
  write(bytes: Uint8Array, options: { at: number }): number;
  truncate(size: number): void;
  close(): void;
}

/** Only in workers, and not among the types of pages. */
function direct(handle: FileSystemFileHandle, options?: { mode: 'read-only' }): Promise<Access> {
  return (handle as unknown as { createSyncAccessHandle(options?: object): Promise<Access> }).createSyncAccessHandle(options);
}
