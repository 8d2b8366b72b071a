/** What callers hand in as a model, made ready to be posted: what cannot be posted is pumped over piece by piece. */
import { base } from './builds.js';
import { MoteError } from './error.js';
import type { Portable } from './protocol.js';
import { PIECE } from './reading.js';
import type { HubFile, SingleSource, Source } from './types.js';

/** Files to post, and for each that has to be pumped, its bytes. */
export interface Given {
  files: Portable[];
  pumps: (AsyncIterator<Uint8Array> | undefined)[];
}

export function given(source: Source): Given {
  const one = (Array.isArray(source) ? source : [source]).map(portable);
  if (one.length === 0) throw new MoteError('argument', 'no file to load');
  return { files: one.map(([file]) => file), pumps: one.map(([, pump]) => pump) };
}

/** Whether it can be read once more. */
export function again(source: Source): boolean {
  return [source].flat().every((one) => !(one instanceof ReadableStream || one instanceof Response));
}

/** Where a file of the hub lies. */
export function hubUrl({ repo, file, revision = 'main', endpoint = 'https://huggingface.co' }: HubFile): string {
  const path = file.split('/').map(encodeURIComponent).join('/');
  return `${endpoint.replace(/\/$/, '')}/${repo}/resolve/${encodeURIComponent(revision)}/${path}`;
}

/** The address that a string, URL or file of the hub means. */
export function address(source: string | URL | HubFile): string {
  if (typeof source === 'object' && !(source instanceof URL)) return hubUrl(source);
  try {
    return new URL(source, base()).href;
  } catch (cause) {
    throw new MoteError('argument', `${String(source)} is no address`, cause);
  }
}

function portable(source: SingleSource): [Portable, AsyncIterator<Uint8Array>?] {
  if (typeof source === 'string' || source instanceof URL) {
    const path = pathOf(source);
    return [path === undefined ? { kind: 'url', url: address(source) } : { kind: 'path', path }];
  }
  if (source instanceof Blob) {
    // Node cannot post those that stand for a file.
    return hasFiles() ? [{ kind: 'pump', size: source.size }, ofStream(source.stream())] : [{ kind: 'blob', blob: source }];
  }
  if (source instanceof Response) return ofResponse(source);
  if (source instanceof ReadableStream) return [{ kind: 'pump' }, ofStream(source)];
  const bytes = source instanceof ArrayBuffer ? new Uint8Array(source) : source;
  if (bytes instanceof Uint8Array) return [{ kind: 'pump', size: bytes.length }, ofBytes(bytes)];
  if (typeof source === 'object' && 'repo' in source) return [{ kind: 'url', url: hubUrl(source) }];
  throw new MoteError('argument', 'a model is a URL, Blob, ArrayBuffer, Uint8Array, ReadableStream, Response or { repo, file }');
}

/** A path, where there is a file system and it is no address. */
function pathOf(source: string | URL): string | undefined {
  if (!hasFiles()) return undefined;
  if (source instanceof URL || source.startsWith('file:')) {
    return String(source).startsWith('file:') ? process.getBuiltinModule('node:url').fileURLToPath(source) : undefined;
  }
  return URL.canParse(source) ? undefined : source;
}

/** Whether this is Node, or something like it. */
function hasFiles(): boolean {
  return globalThis.process?.getBuiltinModule !== undefined && base() === undefined;
}

function ofResponse(response: Response): [Portable, AsyncIterator<Uint8Array>] {
  if (!response.ok) throw new MoteError('network', `${response.url}: ${response.status} ${response.statusText}`);
  if (!response.body) throw new MoteError('argument', 'the response has no body, or it was read before');
  const length = response.headers.get('content-length');
  const known = length !== null && !response.headers.has('content-encoding');
  return [{ kind: 'pump', ...(known && { size: Number(length) }) }, ofStream(response.body)];
}

/** Copies, since what is posted away is gone, and the bytes are the caller's. */
async function* ofBytes(bytes: Uint8Array): AsyncGenerator<Uint8Array, void, void> {
  for (let at = 0; at < bytes.length; at += PIECE) yield bytes.slice(at, at + PIECE);
}

async function* ofStream(stream: ReadableStream<Uint8Array>): AsyncGenerator<Uint8Array, void, void> {
  const reader = stream.getReader();
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      // A stream may hand out views of one buffer.
      yield value.byteLength === value.buffer.byteLength ? value : value.slice();
    }
  } finally {
    await reader.cancel().catch(() => {});
  }
}
