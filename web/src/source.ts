/** Files as streams of bytes: what the service reads. */
import { download } from './download.js';
import { MoteError } from './error.js';
import type { Fetching, Portable } from './protocol.js';
import { bytesOf } from './reading.js';
import type { Progress } from './types.js';

/** What the host hands over: bytes, an error, or neither at the end. */
export interface Piece {
  bytes?: Uint8Array;
  error?: string;
}

/** Where the next bytes of a file may be put, at most so many of them; nothing where that is not known. */
export type Room = (most: number) => Uint8Array | undefined;

/** How to open a file. */
export interface Opening extends Fetching {
  signal: AbortSignal;
  /** Only the beginning will be read. */
  headerOnly?: boolean;
  room?: Room;
  pull(): Promise<Piece>;
}

/** A file that is being read. A piece is there until the next one is asked for, and may lie where there was room for it. */
export interface Opened {
  size: number | undefined;
  pieces: AsyncGenerator<{ bytes: Uint8Array; phase: Progress['phase'] }, void, void>;
}

export async function open(file: Portable, options: Opening): Promise<Opened> {
  switch (file.kind) {
    case 'url':
      return download(file.url, options);
    case 'blob':
      return { size: file.blob.size, pieces: ofBlob(file.blob) };
    case 'path': {
      const blob = await openPath(file.path);
      return { size: blob.size, pieces: ofBlob(blob) };
    }
    case 'pump':
      return { size: file.size, pieces: ofPump(options.pull) };
  }
}

async function openPath(path: string): Promise<Blob> {
  try {
    return await process.getBuiltinModule('node:fs').openAsBlob(path);
  } catch (cause) {
    throw new MoteError('file', `${path} could not be opened`, cause);
  }
}

async function* ofBlob(blob: Blob) {
  try {
    for await (const bytes of bytesOf(blob)) yield { bytes, phase: 'read' as const };
  } catch (cause) {
    throw new MoteError('file', 'the file could not be read; it may have changed or moved', cause);
  }
}

async function* ofPump(pull: () => Promise<Piece>) {
  for (;;) {
    const { bytes, error } = await pull();
    if (error !== undefined) throw new MoteError('network', error);
    if (!bytes) return;
    yield { bytes, phase: 'read' as const };
  }
}
