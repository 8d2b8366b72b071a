/**
 * Where downloaded files are kept: in the origin's private file system, or else in the Cache API.
 *
 * A file is a folder of parts of equal size and an `entry.json` about them. A part is there whole or it is not there, so
 * a tab that is killed loses at most the part that was under way, in every browser and in either store.
 */
import { PIECE, bytesOf } from './reading.js';

export interface Store {
  read(key: string, name: string): Promise<Blob | undefined>;
  /** Opens a file to read it from its beginning. */
  open(key: string, name: string): Promise<Opened>;
  /** Writes a file whole, unless `cut` says that one that is too short would be noticed: that may be faster. */
  write(key: string, name: string, bytes: Uint8Array<ArrayBuffer>, cut: boolean): Promise<void>;
  keys(): Promise<string[]>;
  delete(key: string): Promise<void>;
}

/** A file that is open, until it is closed. */
export interface Opened {
  /** Its bytes, in pieces that are there until the next one is asked for. */
  pieces(): AsyncIterable<Uint8Array> | Iterable<Uint8Array>;
  close(): void;
}

/** Bytes of a part. */
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
  return {
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
      const access = names.includes('createSyncAccessHandle') && (await direct(handle, { mode: 'read-only' }).catch(() => undefined));
      if (!access) return streamed(await handle.getFile());
      return { pieces: () => read(access), close: () => access.close() };
    },
    async write(key, name, bytes, cut) {
      const folder = await all.getDirectoryHandle(key, { create: true });
      const handle = await folder.getFileHandle(name, { create: true });
      if (names.includes('createSyncAccessHandle') && (cut || !names.includes('createWritable'))) {
        const access = await direct(handle);
        try {
          access.truncate(0);
          if (access.write(bytes) < bytes.length) throw new DOMException('the disk is full', 'QuotaExceededError');
        } finally {
          access.close();
        }
        return;
      }
      // What is written appears when the stream is closed, all at once.
      const stream = await handle.createWritable();
      await stream.write(bytes).catch(async (error: unknown) => {
        await stream.abort().catch(() => {});
        throw error;
      });
      return stream.close();
    },
    async keys() {
      const keys = [];
      for await (const key of all.keys()) keys.push(key);
      return keys;
    },
    delete: (key) => all.removeEntry(key, { recursive: true }).catch(() => {}),
  };
}

async function openCache(): Promise<Store> {
  const cache = await caches.open(FOLDER);
  const url = (key: string, name: string) => `https://motelm.invalid/${key}/${name}`;
  const keyOf = (request: Request) => new URL(request.url).pathname.split('/')[1]!;
  return {
    read: async (key, name) => (await cache.match(url(key, name)))?.blob(),
    open: async (key, name) => streamed(await (await cache.match(url(key, name)))!.blob()),
    write: (key, name, bytes) => cache.put(url(key, name), new Response(bytes)),
    keys: async () => [...new Set((await cache.keys()).map(keyOf))],
    async delete(key) {
      const requests = (await cache.keys()).filter((request) => keyOf(request) === key);
      await Promise.all(requests.map((request) => cache.delete(request)));
    },
  };
}

function streamed(blob: Blob): Opened {
  return { pieces: () => bytesOf(blob), close: () => {} };
}

function* read(access: Access): Generator<Uint8Array, void, void> {
  const buffer = new Uint8Array(PIECE);
  for (let at = 0, n; (n = access.read(buffer, { at })) > 0; at += n) yield buffer.subarray(0, n);
}

interface Access {
  read(bytes: Uint8Array, options: { at: number }): number;
  write(bytes: Uint8Array): number;
  truncate(size: number): void;
  close(): void;
}

/** Only in workers, and not among the types of pages. */
function direct(handle: FileSystemFileHandle, options?: { mode: 'read-only' }): Promise<Access> {
  return (handle as unknown as { createSyncAccessHandle(options?: object): Promise<Access> }).createSyncAccessHandle(options);
}
