// A static server of the checkout that can misbehave. What it does is in the first folder and in the query:
//   /coi/...            cross-origin isolated (COOP and COEP)
//   /csp/...            a policy without `blob:` workers
//   /stalls/...         the package's modules, but `chat.wasm` never comes
//   /split/1, /split/2  a model in two files, without ranges     /hub/...  redirects as the Hugging Face hub
//   ?slow               some MB/s          ?break=N    the first connection breaks after N bytes
//   ?still=N            the first one stands still there
//   ?norange            ignores Range         ?context=N  a model that says it was trained for N tokens
//   ?version=V          its ETag              ?mib=N      N MiB that differ in every four bytes
//   ?layers=N           a model of N layers of 0.7 GB each, which counts
//   ?gzip               compresses what is asked for without a range
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { readFile, stat } from 'node:fs/promises';
import { createServer } from 'node:http';
import { extname, join, normalize } from 'node:path';
import { Readable } from 'node:stream';
import { setTimeout as pause } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';
import { large, split } from './large.mjs';

export const root = fileURLToPath(new URL('../..', import.meta.url));

const TYPES = {
  '.css': 'text/css',
  '.html': 'text/html',
  '.js': 'text/javascript',
  '.mjs': 'text/javascript',
  '.json': 'application/json',
  '.svg': 'image/svg+xml',
  '.wasm': 'application/wasm',
  '.webmanifest': 'application/manifest+json',
};
const MODES = {
  coi: { 'cross-origin-opener-policy': 'same-origin', 'cross-origin-embedder-policy': 'require-corp' },
  csp: { 'content-security-policy': "default-src 'self'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self'" },
  plain: {},
};

/** Starts one on a free port, for `folder` of the checkout or any other. */
export async function serve(folder = root) {
  /** Every request that came, as `METHOD path range`. */
  const requests = [];
  const asked = new Set();
  let reachable = true;
  let hidden;

  const server = createServer(async (request, response) => {
    const url = new URL(request.url, 'http://localhost');
    requests.push([request.method, url.pathname + url.search, request.headers.range].filter(Boolean).join(' '));
    if (!reachable) return request.socket.destroy();
    const [, mode, ...rest] = normalize(decodeURIComponent(url.pathname)).split('/');
    const headers = { ...(MODES[mode] ?? {}), 'cross-origin-resource-policy': 'cross-origin', 'cache-control': 'no-store' };
    let path = mode in MODES ? rest.join('/') : [mode, ...rest].join('/');
    if (path === 'blank') {
      return response.writeHead(200, { ...headers, 'content-type': 'text/html' }).end('<!doctype html><link rel="icon" href="data:,"><title>blank</title>');
    }
    if (path === 'stalls/chat.wasm') return;
    if (hidden && url.pathname.includes(hidden)) return response.writeHead(404, headers).end();
    const part = /^split\/([12])$/.exec(path);
    if (part) {
      const body = split()[part[1] - 1];
      return response.writeHead(200, { ...headers, 'content-length': body.length }).end(request.method === 'HEAD' ? undefined : body);
    }
    if (path === 'hub/some/one/resolve/main/tales.gguf') {
      // As the hub does: elsewhere.
      return response.writeHead(302, { ...headers, location: '/models/tales-2M-Q8_0.gguf' }).end();
    }
    try {
      path = path.replace(/^stalls\//, 'web/dist/wasm/');
      await send(join(folder, path.endsWith('/') || path === '' ? `${path}index.html` : path), url, request, response, headers);
    } catch (error) {
      if (error.code !== 'ENOENT' && error.code !== 'EISDIR') console.error(error);
      response.writeHead(404, headers).end();
    }
  });

  async function send(path, url, request, response, headers) {
    const query = url.searchParams;
    const made = query.has('layers') ? large(Number(query.get('layers'))) : undefined;
    const size = made?.size ?? (query.has('mib') ? query.get('mib') * 2 ** 20 : (await stat(path)).size);
    const from = query.has('norange') ? 0 : Number(/^bytes=(\d+)-/.exec(request.headers.range ?? '')?.[1] ?? 0);
    headers['content-type'] = TYPES[extname(path)] ?? 'application/octet-stream';
    headers['content-length'] = size - from;
    headers.etag = `"${query.get('version') ?? versions.get(url.pathname) ?? size}"`;
    const partial = request.headers.range !== undefined && !query.has('norange');
    if (partial) headers['content-range'] = `bytes ${from}-${size - 1}/${size}`;
    if (query.has('gzip') && !partial) {
      delete headers['content-length'];
      headers['content-encoding'] = 'gzip';
      response.writeHead(200, headers);
      return response.end(gzipSync(await readFile(path)));
    }
    response.writeHead(partial ? 206 : 200, headers);
    if (request.method === 'HEAD') return response.end();
    const first = !asked.has(url.href);
    const breakAt = first && Number(query.get('break') ?? query.get('still') ?? 0);
    asked.add(url.href);
    let body;
    if (made) body = Readable.from(padded(made, from));
    else if (query.has('mib')) body = Readable.from(numbered(from, size));
    else if (query.has('context')) body = Readable.from([patched(await readFile(path), Number(query.get('context'))).subarray(from)]);
    else body = createReadStream(path, { start: from, highWaterMark: 1 << 16 });
    let sent = 0;
    response.setMaxListeners(0);
    for await (const chunk of body) {
      if (response.destroyed || !reachable) return request.socket.destroy();
      if (breakAt && sent + chunk.length > breakAt) {
        response.write(chunk.subarray(0, breakAt - sent));
        await (query.has('still') ? new Promise((resume) => response.once('close', resume)) : pause(100));
        return request.socket.destroy();
      }
      sent += chunk.length;
      if (!response.write(chunk)) await new Promise((resume) => response.once('drain', resume).once('close', resume));
      if (query.has('slow')) await pause(15);
    }
    response.end();
  }

  const versions = new Map();
  await new Promise((listening) => server.listen(0, '127.0.0.1', listening));
  return {
    origin: `http://127.0.0.1:${server.address().port}`,
    requests,
    versions,
    /** Whether anybody answers. */
    reachable(yes) {
      reachable = yes;
      if (!yes) server.closeAllConnections();
    },
    /** Denies every file whose path contains `part`. */
    hide(part) {
      hidden = part;
    },
    close() {
      server.closeAllConnections();
      server.close();
    },
  };
}

function* zeros(bytes) {
  const chunk = new Uint8Array(1 << 18);
  for (let left = bytes; left > 0; left -= chunk.length) yield chunk.subarray(0, Math.min(left, chunk.length));
}

/** The number of every four bytes, from the byte `from` on. */
function* numbered(from, size) {
  const CHUNK = 1 << 18;
  for (let at = from - (from % CHUNK); at < size; at += CHUNK) {
    const chunk = new Uint8Array(Uint32Array.from({ length: CHUNK / 4 }, (_, i) => at / 4 + i).buffer);
    yield chunk.subarray(Math.max(0, from - at), size - at);
  }
}

/** The SHA-256 of so many bytes that [are numbered](numbered). */
export function numberedSha256(bytes) {
  const hash = createHash('sha256');
  for (const chunk of numbered(0, bytes)) hash.update(chunk);
  return hash.digest('hex');
}

function* padded({ header, size, tail }, from) {
  const end = size - tail.length;
  if (from < header.length) yield header.subarray(from);
  if (from < end) yield* zeros(end - Math.max(from, header.length));
  yield tail.subarray(Math.max(from - end, 0));
}

/** The same file with another `llama.context_length`. */
function patched(file, context) {
  const key = 'llama.context_length';
  const at = file.indexOf(key) + key.length;
  if (at < key.length || file.readUInt32LE(at) !== 4) throw new Error(`${key} is not a u32 in this file`);
  file.writeUInt32LE(context, at + 4);
  return file;
}
