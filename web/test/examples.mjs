// The package as npm would publish it, installed in each example, built, and used. Names on the command line choose some.
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { cp, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { after, before } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { launch } from './browsers.mjs';
import { root, serve } from './server.mjs';

const MODEL = `${root}models/tales-2M-Q8_0.gguf`;
const home = await mkdtemp(join(tmpdir(), 'motelm-examples-'));
let tarball;
let browser;

before(async () => {
  const packed = JSON.parse(run(`${root}web`, 'npm', 'pack', '--json', '--pack-destination', home));
  tarball = join(home, packed[0].filename);
  const files = packed[0].files.map(({ path }) => path);
  for (const path of ['README.md', 'LICENSE-MIT', 'LICENSE-APACHE', 'dist/index.js', 'dist/index.d.ts', 'dist/worker.js', 'dist/wasm/simd128.wasm', 'dist/wasm/relaxed.wasm.js', 'dist/wasm/relaxed64.wasm.js']) {
    assert.ok(files.includes(path), `${path} is not in the package`);
  }
  assert.ok(!files.some((path) => /^(src|test|demo|examples|wasm)\//.test(path)), 'more than the package is packed');
  browser = await launch('chrome');
});
after(async () => {
  await browser?.close();
  await rm(home, { recursive: true, force: true, maxRetries: 5, retryDelay: 200 });
});

test('npm would publish it without a complaint', () => {
  const { status, stderr } = spawnSync('npm', ['publish', '--dry-run', '--tag', 'latest'], { cwd: `${root}web`, encoding: 'utf8' });
  assert.equal(status, 0, stderr);
  const warnings = stderr.split('\n').filter((line) => /warn/i.test(line) && !/user config|logged in|requires you/i.test(line));
  assert.deepEqual(warnings, []);
});

test('its types are complete and strict', async () => {
  const folder = await install('node', 'model.gguf');
  const source = `import { Mote, MoteError, type Progress } from 'motelm';
    const mote: Mote = await Mote.load({ repo: 'a/b', file: 'c.gguf' }, { onProgress: ({ ratio }: Progress) => void ratio.toFixed() });
    for await (const piece of mote.chat([{ role: 'user', content: 'Hi' }], { temperature: 0.7 })) piece.trim();
    const vectors: Float32Array[] = await mote.embed(['a', 'b']);
    const one: Float32Array = await mote.embed({ title: 'a', text: 'b' }, { task: 'document', dim: 64 });
    const dropped: number = (await mote.embedMany(['a'], { pooling: 'mean' })).texts[0]!.dropped;
    const scores: number[] = await mote.rank('a', ['b']);
    for await (const chunk of await mote.openai.chat.completions.create({ messages: [], stream: true })) chunk.choices[0]?.delta.content?.trim();
    const { choices } = await mote.openai.chat.completions.create({ messages: [] });
    try { choices[0].message.content.trim(); } catch (error) { if (error instanceof MoteError && error.code === 'memory') throw [vectors, one, dropped, scores]; }
    // @ts-expect-error no such option
    await Mote.load('x', { contxt: 1 });`;
  await writeFile(join(folder, 'use.ts'), source);
  const compilerOptions = { strict: true, noEmit: true, module: 'nodenext', target: 'es2022', types: [], lib: ['es2022', 'esnext.disposable', 'dom', 'dom.asynciterable'] };
  await writeFile(join(folder, 'tsconfig.json'), JSON.stringify({ compilerOptions, files: ['use.ts'] }));
  run(folder, `${root}web/node_modules/.bin/tsc`, '-p', '.');
});

test('node, deno and bun', async () => {
  const folder = await install('node', 'model.gguf');
  const told = (...command) => assert.match(run(folder, ...command, 'story.mjs', 'model.gguf', 'The king'), /^The king.+\n\n\d+ tokens per second/s);
  told('node');
  run(folder, 'npm', 'install', '--no-audit', '--no-fund', '--prefer-offline', '--no-save', 'deno@2', 'bun@1');
  told('node_modules/.bin/deno', 'run', '--allow-all');
  told('node_modules/.bin/bun');
});

test('static', async () => {
  const folder = await install('static', 'model.gguf');
  const server = await serve(`${folder}/`);
  try {
    await tells(`${server.origin}/index.html`);
  } finally {
    server.close();
  }
});

test('pwa: page, engine and model without a network', async () => {
  const folder = await install('pwa', 'model.gguf');
  const server = await serve(`${folder}/`);
  try {
    const context = await browser.createBrowserContext();
    await tells(`${server.origin}/`, context);
    // The second visit is the first that the service worker sees from its beginning.
    await tells(`${server.origin}/`, context);
    server.reachable(false);
    await tells(`${server.origin}/`, context);
    await context.close();
  } finally {
    server.close();
  }
});

test('vite: as it is developed, and built', async () => {
  const folder = await install('vite', 'public/model.gguf');
  await serving(folder, ['vite', '--port', '4173', '--strictPort', '--host', '127.0.0.1'], 4173);
  run(folder, 'npx', 'vite', 'build');
  await serving(folder, ['vite', 'preview', '--port', '4174', '--strictPort', '--host', '127.0.0.1'], 4174);
});

test('next: built', async () => {
  const folder = await install('next', 'public/model.gguf');
  run(folder, 'npx', 'next', 'build');
  await serving(folder, ['next', 'start', '-p', '4175', '-H', '127.0.0.1'], 4175);
});

test('the page on a static host', async () => {
  const site = join(home, 'site');
  run(`${root}web`, 'npm', 'run', 'site', '--', site);
  const server = await serve(`${site}/`);
  try {
    const page = await browser.newPage();
    await page.goto(`${server.origin}/`);
    await page.waitForSelector('.dot.ready', { timeout: 60_000 });
    await page.close();
  } finally {
    server.close();
  }
});

/** A copy of an example, with the package installed and a model in its place. */
async function install(name, model) {
  const folder = join(home, name);
  await cp(`${root}web/examples/${name}`, folder, { recursive: true, filter: (path) => !/node_modules|\.next|\/dist$/.test(path) });
  await cp(MODEL, join(folder, model), { recursive: true });
  const manifest = JSON.parse(await readFile(join(folder, 'package.json'), 'utf8'));
  manifest.dependencies.motelm = `file:${tarball}`;
  await writeFile(join(folder, 'package.json'), JSON.stringify(manifest));
  run(folder, 'npm', 'install', '--no-audit', '--no-fund', '--prefer-offline');
  return folder;
}

/** Starts a server of the project's own and hears its story. */
async function serving(folder, command, port) {
  const server = spawn('npx', command, { cwd: folder, stdio: 'inherit', detached: true, env: { ...process.env, NEXT_TELEMETRY_DISABLED: '1' } });
  try {
    const url = `http://127.0.0.1:${port}/`;
    for (let tries = 0; ; tries++) {
      if (await fetch(url).then(({ ok }) => ok, () => false)) break;
      assert.ok(tries < 150, `${command.join(' ')} does not answer`);
      await pause(200);
    }
    await tells(url);
  } finally {
    process.kill(-server.pid, 'SIGKILL');
  }
}

async function tells(url, context = browser) {
  const page = await context.newPage();
  const errors = [];
  page.on('pageerror', (error) => errors.push(String(error)));
  await page.goto(url);
  await page.waitForSelector('#tell:not([disabled])', { timeout: 60_000 });
  await page.click('#tell');
  // Without a seed, one story of a hundred is over after some words.
  await page.waitForFunction(() => document.getElementById('story').textContent.length > 'Once upon a time'.length, { timeout: 60_000 });
  assert.match(await page.$eval('#story', ({ textContent }) => textContent), /^Once upon a time/);
  assert.deepEqual(errors, []);
  await page.close();
}

function run(cwd, command, ...args) {
  const { status, stdout, stderr, error } = spawnSync(command, args, { cwd, encoding: 'utf8', timeout: 600_000, env: { ...process.env, NEXT_TELEMETRY_DISABLED: '1' } });
  assert.equal(status, 0, `${command} ${args.join(' ')}: ${error ?? ''}\n${stdout}\n${stderr}`);
  return stdout;
}
