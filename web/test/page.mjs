// Opens the demo page in real browsers, lets it tell a story and looks at what stands there.
// All browsers must tell the same one for a seed, letter by letter.
import { createServer } from 'node:http';
import { readFile } from 'node:fs/promises';
import { extname, join, normalize } from 'node:path';
import { fileURLToPath } from 'node:url';
import assert from 'node:assert/strict';
import puppeteer from 'puppeteer-core';

const root = fileURLToPath(new URL('../..', import.meta.url));
let story;

const browsers = {
  chrome: {
    executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
    args: [
      '--no-sandbox',
      '--disable-gpu',
      '--disable-dev-shm-usage',
      '--disable-quic',
      '--no-first-run',
      '--disable-background-networking',
      '--disable-component-update',
      '--disable-sync',
    ],
  },
  firefox: { executablePath: process.env.FIREFOX ?? '/usr/bin/firefox-esr', args: [] },
};

const types = {
  '.html': 'text/html',
  '.js': 'text/javascript',
  '.wasm': 'application/wasm',
  '.gguf': 'application/octet-stream',
};

const server = createServer(async ({ url }, response) => {
  const path = normalize(new URL(url, 'http://localhost').pathname);
  try {
    const body = await readFile(join(root, path));
    response.writeHead(200, { 'content-type': types[extname(path)] ?? 'text/plain' }).end(body);
  } catch {
    response.writeHead(404).end();
  }
});
await new Promise((listening) => server.listen(0, '127.0.0.1', listening));
const origin = `http://127.0.0.1:${server.address().port}`;

try {
  for (const [browser, options] of Object.entries(browsers)) {
    const running = await puppeteer.launch({ browser, headless: true, ...options });
    try {
      await tellsAStory(running);
      await stopsWhenAsked(running);
      await refusesWhatIsNoModel(running);
      console.log(`ok: ${await running.version()}`);
    } finally {
      await running.close();
    }
  }
} finally {
  server.close();
}

/** The page with a loaded model; its own errors fail the test. */
async function open(browser, query = '') {
  const page = await browser.newPage();
  page.on('console', (message) => console.log(`  page: ${message.text()}`));
  page.on('pageerror', (error) => console.log(`  page: ${error}`));
  await page.goto(`${origin}/web/demo/index.html${query}`);
  await page.waitForFunction(() => !document.getElementById('status').textContent.startsWith('Loading'));
  const status = await text(page, 'status');
  assert.match(status, /1\.87 million weights/);
  return page;
}

async function tellsAStory(browser) {
  const page = await open(browser, '?seed=42');
  await page.click('#tell');
  await page.waitForFunction(() => !document.getElementById('tell').disabled, { timeout: 60_000 });
  const told = await text(page, 'story');
  assert.match(told, /^Once upon a time.{100}/s);
  assert.equal(told, story ??= told);
  await page.close();
}

async function stopsWhenAsked(browser) {
  const page = await open(browser, '?seed=42');
  await page.click('#tell');
  await page.waitForFunction(() => document.getElementById('story').textContent.length > 30);
  await page.click('#stop');
  await page.waitForFunction(() => !document.getElementById('tell').disabled);
  // The model is free for the next question at once.
  await page.click('#tell');
  await page.waitForFunction(() => document.getElementById('story').textContent.length > 30);
  await page.close();
}

async function refusesWhatIsNoModel(browser) {
  const page = await open(browser);
  const error = await page.evaluate(async () => {
    const { Model } = await import('../dist/index.js');
    return Model.load(new Uint8Array([1, 2, 3])).then(
      () => 'loaded',
      ({ name, message }) => `${name}: ${message}`,
    );
  });
  assert.match(error, /^(Truncated|Malformed): ./);
  await page.close();
}

function text(page, id) {
  return page.$eval(`#${id}`, (element) => element.textContent);
}
