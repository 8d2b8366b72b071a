// The same package in Node: from paths and everything else, in a worker thread or in this one.
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { openAsBlob } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import test from 'node:test';
import { pathToFileURL } from 'node:url';
import { build } from 'esbuild';
import { Mote, MoteError } from '../dist/index.js';
import { root, serve } from './server.mjs';

const PATH = `${root}models/tales-2M-Q8_0.gguf`;
const story = { temperature: 0.6, topK: 40, seed: 42, maxTokens: 30 };

test('every source, in a worker thread or in this one, tells the same story', async (t) => {
  const server = await serve();
  const bytes = await readFile(PATH);
  const sources = [PATH, pathToFileURL(PATH), new Uint8Array(bytes), await openAsBlob(PATH), new Blob([bytes]).stream(), `${server.origin}/models/tales-2M-Q8_0.gguf`];
  const told = new Set();
  t.after(() => server.close());
  for (const source of sources) {
    const mote = await Mote.load(source, { worker: source !== PATH });
    told.add(await mote.generate('Once upon a time', story).text());
    mote.unload();
  }
  assert.equal(told.size, 1);
});

test('threads tell the story that one does', async () => {
  const told = [];
  for (const threads of [1, 2]) {
    const mote = await Mote.load(PATH, { threads });
    told.push({ text: await mote.generate('Once upon a time, '.repeat(20), story).text(), ...mote.running });
    if (threads === 1) mote.unload(); // The other must not keep the process.
  }
  // Node 20 has no relaxed vectors, and no threads for it.
  const one = told[0].build;
  assert.deepEqual(told.map(({ build, threads }) => `${build} ${threads}`), [`${one} 1`, one === 'relaxed' && availableParallelism() > 1 ? 'threads 2' : `${one} 1`]);
  assert.equal(told[0].text, told[1].text);
});

test('a chat is the same in a worker thread and in this one', async () => {
  const counts = [];
  for (const worker of [true, false]) {
    const mote = await Mote.load(`${root}tests/golden/models/qwen2-256/model-Q4_K_M.gguf`, { worker });
    const messages = [{ role: 'user', content: 'Hello there' }];
    counts.push(await mote.countTokens(messages), (await mote.chat(messages, story).result).usage.promptTokens);
    mote.unload();
  }
  assert.ok(counts[0] > 5);
  assert.equal(new Set(counts).size, 1);
});

test('errors have codes, and a model can be abandoned', async () => {
  for (const [source, code] of [['/no/such/file.gguf', 'file'], [new Uint8Array(9), 'file'], ['http://127.0.0.1:9/x', 'network'], [42, 'argument']]) {
    await assert.rejects(Mote.load(source), (error) => error instanceof MoteError && error.code === code);
  }
  // Nothing waits for it: it must not keep the process.
  await Mote.load(PATH);
});

test('in a build for another page, a worker and a module from elsewhere', async () => {
  const mote = await Mote.load(PATH, { workerUrl: new URL('../dist/worker.js', import.meta.url), build: 'simd128' });
  assert.equal((await mote.generate('Once upon a time', story).result).usage.completionTokens, 30);
  mote.unload();
});

test('SHA-256 of bytes in pieces is the one of all', async () => {
  const { outputFiles } = await build({ entryPoints: [`${root}web/src/sha256.ts`], bundle: true, format: 'esm', write: false });
  const { Sha256 } = await import(`data:text/javascript;base64,${Buffer.from(outputFiles[0].contents).toString('base64')}`);
  const data = Uint8Array.from({ length: 1000 }, (_, i) => (i * 37) % 251);
  for (let length = 0; length < 300; length++) {
    const hash = new Sha256();
    for (let at = 0, step = 1; at < length; at += step++) hash.update(data.subarray(at, Math.min(length, at + step)));
    assert.equal(hash.finish(), createHash('sha256').update(data.subarray(0, length)).digest('hex'), `${length} bytes`);
  }
});
