/** The files that `Mote.load` keeps: what is there, how much room it takes, and how to make room. */
import { download, kept } from './download.js';
import { check } from './error.js';
import { address } from './given.js';
import { progressOf } from './progress.js';
import { Shelf } from './shelf.js';
import { type Store, store } from './store.js';
import type { FetchOptions, HubFile } from './types.js';

/** A file in the cache. */
export interface CachedFile {
  url: string;
  /** Bytes of the whole file. */
  size: number;
  /** Bytes that are here. */
  stored: number;
  /** Whether all of it is here, so that it works offline. */
  complete: boolean;
  lastUsed: Date;
}

type Address = string | URL | HubFile;

export const cache = {
  /** All files, the last used first. Empty where the page has no storage. */
  async list(): Promise<CachedFile[]> {
    const kept = await store();
    if (!kept) return [];
    const files = (await Shelf.all(kept)).map(({ entry: { url, size, used }, stored }) => ({ url, size, stored, complete: stored === size, lastUsed: new Date(used) }));
    return files.sort((a, b) => b.lastUsed.getTime() - a.lastUsed.getTime());
  },

  /** Whether a file is here, all of it. */
  async has(url: Address): Promise<boolean> {
    const files = await store();
    return files !== undefined && (await kept(await Shelf.of(files, address(url)))).whole;
  },

  /** Downloads a file without loading it; fails when there is no room. */
  async add(url: Address, { signal = new AbortController().signal, onProgress, ...fetching }: FetchOptions = {}): Promise<void> {
    const { size: total, pieces } = await download(address(url), { cache: 'required', ...fetching, signal });
    let loaded = 0;
    for await (const { bytes, phase } of pieces) {
      check(signal);
      loaded += bytes.length;
      onProgress?.(progressOf(phase, loaded, total));
    }
    onProgress?.(progressOf('ready', loaded, loaded));
  },

  /** Forgets a file. Whoever is downloading it, in this tab or another, gets an error with the code `aborted`; where it
   * is being read for longer than some seconds, this fails with `busy`. */
  async delete(url: Address): Promise<void> {
    const kept = await store();
    if (kept) await (await Shelf.of(kept, address(url))).forget();
  },

  /** Forgets all files. */
  async clear(): Promise<void> {
    await forget(await store(), () => true);
  },

  /** Forgets the files that were not used for longest, until at most `maxBytes` are kept. */
  async evict({ maxBytes }: { maxBytes: number }): Promise<void> {
    let kept = 0;
    await forget(await store(), (stored) => (kept += stored) > maxBytes);
  },

  /** Bytes that the files take, that this origin may store in all, and that are left of those. */
  async usage(): Promise<{ bytes: number; quota: number; available: number }> {
    const bytes = (await cache.list()).reduce((sum, { stored }) => sum + stored, 0);
    const { quota = 0, usage = 0 } = (await globalThis.navigator?.storage?.estimate()) ?? {};
    return { bytes, quota, available: Math.max(0, quota - usage) };
  },

  /** Asks the browser never to clear this origin's storage by itself; some ask the user. */
  async persist(): Promise<boolean> {
    return (await globalThis.navigator?.storage?.persist?.()) ?? false;
  },
};

/** Forgets files, the last used first in the question. */
async function forget(kept: Store | undefined, which: (stored: number) => boolean): Promise<void> {
  if (!kept) return;
  const files = (await Shelf.all(kept)).sort((a, b) => b.entry.used - a.entry.used);
  await Promise.all(files.filter(({ stored }) => which(stored)).map(({ shelf }) => shelf.forget()));
}
