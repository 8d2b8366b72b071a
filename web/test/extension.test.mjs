// The package in a page of a Chrome extension, which nothing but its own files may run in.
import assert from 'node:assert/strict';
import { cp, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'node:test';
import { launch, names } from './browsers.mjs';
import { root } from './server.mjs';

const MANIFEST = {
  manifest_version: 3,
  name: 'A story',
  version: '1.0',
  content_security_policy: { extension_pages: "script-src 'self' 'wasm-unsafe-eval'; object-src 'self'" },
};

const PAGE = '<!doctype html><title>A story</title><script type="module" src="page.js"></script>';

const SCRIPT = `
  import { Mote } from './motelm/index.js';
  const tell = async (options) => {
    const mote = await Mote.load('model.gguf', options);
    const text = await mote.generate('Once upon a time', { maxTokens: 20, temperature: 0 }).text();
    mote.unload();
    return { text, worker: mote.running.worker };
  };
  window.told = Promise.all([tell({}), tell({ workerUrl: 'motelm/worker.js' })]);`;

test('an extension tells a story, in a worker of its own file or without one', { skip: !names.includes('chrome') }, async () => {
  const folder = await mkdtemp(join(tmpdir(), 'motelm-extension-'));
  await cp(`${root}web/dist`, join(folder, 'motelm'), { recursive: true });
  await cp(`${root}models/tales-2M-Q8_0.gguf`, join(folder, 'model.gguf'));
  const files = { 'manifest.json': JSON.stringify(MANIFEST), 'page.html': PAGE, 'page.js': SCRIPT };
  for (const [name, text] of Object.entries(files)) await writeFile(join(folder, name), text);
  const browser = await launch('chrome', { pipe: true, enableExtensions: true });
  try {
    const id = await browser.installExtension(folder);
    const page = await browser.newPage();
    await page.goto(`chrome-extension://${id}/page.html`);
    await page.waitForFunction(() => window.told);
    const told = await page.evaluate(() => window.told);
    assert.deepEqual(told.map(({ worker }) => worker), [true, true]);
    assert.ok(told[0].text.length > 20);
    assert.equal(told[1].text, told[0].text);
  } finally {
    await browser.close();
    await rm(folder, { recursive: true, force: true, maxRetries: 5, retryDelay: 200 });
  }
});
