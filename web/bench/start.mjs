// From opening a page to the first token, and the memory that the page's process took at most: MoteLM and wllama 2.3.1 as
// their users would load them, by URL, each time in a browser of its own: a first visit, then a second from its storage.
//
//   node start.mjs [--shapes FOLDER] [--models a.gguf,b.gguf] [--rounds 5] [--threads 1] [--rest 0] [--json FILE]
import { mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { launch, median, serve } from './browser.mjs';

const { values: args } = parseArgs({
  options: {
    shapes: { type: 'string', default: '/tmp/shapes' },
    models: { type: 'string', default: 'smollm2-135m-q8_0.gguf,smollm2-135m-q4_0.gguf' },
    rounds: { type: 'string', default: '5' },
    threads: { type: 'string', default: '1' },
    // Milliseconds from the browser's start to the page's: for a second, Chromium is busy with itself.
    rest: { type: 'string', default: '0' },
    json: { type: 'string' },
  },
});

/** What each engine's user would write. In the page, `performance.now()` counts from its opening. */
const ENGINES = {
  async mote({ url, threads, prompt }) {
    const { Mote } = await import('/web/dist/index.js');
    const mote = await Mote.load(url, { threads, context: 512 });
    const loaded = performance.now();
    for await (const _ of mote.generate(prompt, { maxTokens: 1, temperature: 0 }));
    return { loaded, first: performance.now() };
  },
  async wllama({ url, threads, prompt }) {
    const esm = '/web/bench/node_modules/@wllama/wllama/esm';
    const { Wllama } = await import(`${esm}/index.js`);
    const paths = ['single-thread', 'multi-thread'].map((kind) => [`${kind}/wllama.wasm`, `${location.origin}${esm}/${kind}/wllama.wasm`]);
    const wllama = new Wllama(Object.fromEntries(paths), { suppressNativeLog: true });
    await wllama.loadModelFromUrl(url, { n_ctx: 512, n_threads: threads });
    const loaded = performance.now();
    await wllama.createCompletion(prompt, { nPredict: 1, sampling: { temp: 0 } });
    return { loaded, first: performance.now() };
  },
};

const server = await serve(args.shapes);
const rows = [];
try {
  for (const model of args.models.split(',')) {
    const seen = Object.fromEntries(Object.keys(ENGINES).flatMap((name) => ['first', 'second'].map((visit) => [`${name} ${visit}`, []])));
    for (let round = 0; round < Number(args.rounds); round++) {
      for (const [name, engine] of Object.entries(ENGINES)) {
        const profile = mkdtempSync(join(tmpdir(), 'motelm-bench-'));
        for (const visit of ['first', 'second']) seen[`${name} ${visit}`].push(await visited(profile, engine, model));
        rmSync(profile, { recursive: true, force: true, maxRetries: 5, retryDelay: 200 });
      }
    }
    for (const [what, visits] of Object.entries(seen)) {
      const [engine, visit] = what.split(' ');
      const of = (key) => Math.round(median(visits.map((visit) => visit[key])));
      rows.push({ model, engine, visit, 'loaded ms': of('loaded'), 'first token ms': of('first'), 'peak MiB': of('peak') });
      console.log(JSON.stringify(rows.at(-1)));
    }
  }
} finally {
  server.close();
}
if (args.json) writeFileSync(args.json, JSON.stringify(rows, null, 1));

async function visited(profile, engine, model) {
  const browser = await launch(profile);
  try {
    const page = await browser.newPage();
    await new Promise((resolve) => setTimeout(resolve, Number(args.rest)));
    page.on('pageerror', (error) => console.log(`  page: ${error}`));
    await page.goto(`${server.origin}/web/bench/blank.html`);
    const times = await page.evaluate(engine, { url: `${server.origin}/shapes/${model}`, threads: Number(args.threads), prompt: 'Once upon a time there was a king who had a daughter.' });
    return { ...times, peak: peak(profile) };
  } finally {
    await browser.close();
  }
}

/** The most memory that a process with a page had so far, in MiB. */
function peak(profile) {
  const pids = readdirSync('/proc').filter((name) => /^\d+$/.test(name));
  const renderers = pids.filter((pid) => {
    const line = read(`/proc/${pid}/cmdline`);
    return line.includes('--type=renderer') && line.includes(profile);
  });
  return Math.max(...renderers.map((pid) => Number(/VmHWM:\s+(\d+)/.exec(read(`/proc/${pid}/status`))?.[1] ?? 0))) / 1024;
}

function read(path) {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return ''; // it has just ended
  }
}
