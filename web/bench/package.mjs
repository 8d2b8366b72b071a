// The npm package alone, as a page would use it: a prompt of some 200 tokens and an answer, or texts a second for models
// that make vectors. Prints medians, and what the page's engine holds.
//
//   node package.mjs [--shapes FOLDER] [--models a.gguf,b.gguf] [--rounds 3] [--threads 1,2]
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { launch, median, serve } from './browser.mjs';

const { values: args } = parseArgs({
  options: {
    shapes: { type: 'string', default: '/tmp/shapes' },
    models: { type: 'string', default: 'bitnet-2b-4t-i2_s-q6_k.gguf,embeddinggemma-300m-q8_0.gguf' },
    rounds: { type: 'string', default: '3' },
    threads: { type: 'string', default: '1,2' },
  },
});

/** Runs in the page. */
async function measure({ url, threads, rounds }) {
  const { Mote } = await import('/web/dist/index.js');
  const opened = performance.now();
  const mote = await Mote.load(url, { threads, context: 512, cache: false });
  const told = { loadSeconds: (performance.now() - opened) / 1000, heldMiB: (await mote.heldMemory()) / 2 ** 20, ...mote.running };
  const sentence = 'The old king had a daughter who walked to the sea. ';
  const times = [];
  // The first round compiles.
  for (let round = 0; round <= rounds; round++) {
    const begun = performance.now();
    if (mote.info.embedding) {
      const texts = Array.from({ length: 32 }, (_, i) => `${i}. ${sentence}`);
      const { texts: read } = await mote.embedMany(texts, { task: 'document' });
      const seconds = (performance.now() - begun) / 1000;
      times.push({ 'texts/s': texts.length / seconds, 'tokens/s': read.reduce((sum, { tokens }) => sum + tokens, 0) / seconds });
    } else {
      const { usage, timings } = await mote.generate(`${round} ${sentence.repeat(16)}`, { maxTokens: 32, temperature: 0, ignoreEnd: true }).result;
      times.push({ 'prompt tokens/s': ((usage.promptTokens - usage.reusedTokens) * 1000) / timings.promptMs, 'tokens/s': timings.tokensPerSecond });
    }
  }
  mote.unload();
  return { told, times: times.slice(1) };
}

const server = await serve(args.shapes);
try {
  for (const model of args.models.split(',')) {
    for (const threads of args.threads.split(',').map(Number)) {
      const profile = mkdtempSync(join(tmpdir(), 'motelm-bench-'));
      const browser = await launch(profile);
      const page = await browser.newPage();
      await page.goto(`${server.origin}/web/bench/blank.html`);
      const { told, times } = await page.evaluate(measure, { url: `${server.origin}/shapes/${model}`, threads, rounds: Number(args.rounds) });
      const medians = Object.keys(times[0]).map((key) => [key, +median(times.map((time) => time[key])).toFixed(1)]);
      console.log(JSON.stringify({ model, ...told, ...Object.fromEntries(medians) }));
      await browser.close();
      rmSync(profile, { recursive: true, force: true, maxRetries: 5, retryDelay: 200 });
    }
  }
} finally {
  server.close();
}
