// What the benches share: a server of the checkout and the models, and Chromium.
import { createReadStream, statSync } from 'node:fs';
import { createServer } from 'node:http';
import { extname, join, normalize } from 'node:path';
import { fileURLToPath } from 'node:url';
import { chromium } from 'playwright-core';

const root = fileURLToPath(new URL('../..', import.meta.url));
const types = { '.html': 'text/html', '.js': 'text/javascript', '.mjs': 'text/javascript', '.wasm': 'application/wasm' };

/** Serves the checkout, and the files of `shapes` as `/shapes/`, to pages that may have threads. */
export async function serve(shapes) {
  const server = createServer(({ url, method, headers }, response) => {
    const path = normalize(decodeURIComponent(new URL(url, 'http://localhost').pathname));
    const file = path.startsWith('/shapes/') ? join(shapes, path.slice(8)) : join(root, path);
    let size;
    try {
      size = statSync(file).size;
    } catch {
      return response.writeHead(404).end();
    }
    const start = Number(/^bytes=(\d+)-/.exec(headers.range ?? '')?.[1] ?? 0);
    response.writeHead(start ? 206 : 200, {
      'content-type': types[extname(file)] ?? 'application/octet-stream',
      'content-length': size - start,
      ...(start && { 'content-range': `bytes ${start}-${size - 1}/${size}` }),
      'cross-origin-opener-policy': 'same-origin',
      'cross-origin-embedder-policy': 'require-corp',
    });
    if (method === 'HEAD') return response.end();
    // In large pieces: the browser shares the machine with this server.
    createReadStream(file, { start, highWaterMark: 1 << 20 }).pipe(response);
  });
  await new Promise((listening) => server.listen(0, '127.0.0.1', listening));
  return { origin: `http://127.0.0.1:${server.address().port}`, close: () => server.close() };
}

/** Chromium (or what `CHROMIUM` names) with its profile in a folder. */
export function launch(profile) {
  return chromium.launchPersistentContext(profile, {
    executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
    args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--disable-dev-shm-usage', '--no-first-run'],
  });
}

export const median = (numbers) => [...numbers].sort((a, b) => a - b)[numbers.length >> 1];
