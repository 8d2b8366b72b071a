// What goes wrong, and what a page may forbid: every promise settles, and the page stays alive.
import assert from 'node:assert/strict';
import { freemem } from 'node:os';
import { after } from 'node:test';
import { blank, inBrowsers } from './browsers.mjs';
import { serve } from './server.mjs';

const server = await serve();
after(() => server.close());
const TALES = `${server.origin}/models/tales-2M-Q8_0.gguf`;
/** A context that takes seconds to fill. */
const LONG = `${TALES}?context=8192`;
const vast = (layers) => `${server.origin}/vast.gguf?layers=${layers}`;

inBrowsers(async (test) => {
  await test('work can be aborted at any time, and the model is free at once', async (context) => {
    const page = await blank(context, server.origin);
    const got = await page.evaluate(async (url) => {
      const { Mote } = motelm;
      const prompt = 'The king '.repeat(1300);
      const results = {};
      /** What `work` comes to when it is aborted at the moment that `when` tells. */
      const aborted = async (name, work, when) => {
        const abort = new AbortController();
        const settled = outcome(work(abort.signal, () => abort.abort()));
        when?.().then(() => abort.abort());
        const ms = await timed(() => settled);
        results[name] = { ...(await settled), ms };
      };
      await aborted('before', () => Mote.load(url, { signal: AbortSignal.abort() }));
      await aborted('download', (signal, abort) => Mote.load(url, { signal, onProgress: abort }));
      for (const worker of [true, false]) {
        const mote = await Mote.load(url, { context: 8192, worker });
        const say = (prompt, options) => mote.generate(prompt, { ...story, ...options });
        const how = worker ? 'worker' : 'inline';
        const whole = await timed(() => say(prompt, { maxTokens: 1 }).text());
        await say('Once', { maxTokens: 1 }).text(); // What it held of the prompt is gone.
        await aborted(`prefill, ${how}`, (signal) => say(prompt, { signal }).text(), () => begun(mote));
        const free = await timed(() => say('Once', { maxTokens: 1 }).text());
        results[how] = { whole, free };
        await aborted(`decode, ${how}`, async (signal, abort) => {
          for await (const _ of say('Once', { maxTokens: 8000, signal })) abort();
        });
        void outcome(say(prompt).text());
        await aborted(`waiting, ${how}`, (signal) => say('x', { signal }).text(), () => begun(mote));
        mote.unload();
      }
      return results;
    }, LONG);
    const { worker, inline, ...aborted } = got;
    assert.equal(Object.keys(aborted).length, 8);
    for (const [what, { code, name }] of Object.entries(aborted)) assert.deepEqual([code, name], ['aborted', 'AbortError'], what);
    // A whole prompt takes seconds, on a slow machine more; beside it nobody waits, for the answer or for the engine.
    for (const [how, { whole, free }] of Object.entries({ worker, inline })) {
      const { ms } = aborted[`prefill, ${how}`];
      console.log(`  ${how}: a prompt takes ${whole.toFixed(0)} ms; aborted after ${ms.toFixed(1)} ms, free again ${free.toFixed(1)} ms later`);
      assert.ok(ms < whole / 2 && free < whole / 2, `${how}: ${ms} ms and ${free} ms of ${whole} ms`);
    }
  });

  await test('unloading in the middle settles everything', async (context) => {
    const page = await blank(context, server.origin);
    const got = await page.evaluate(async (url) => {
      const codes = {};
      for (const worker of [true, false]) {
        const mote = await motelm.Mote.load(url, { context: 8192, worker });
        const waiting = [mote.generate('The king '.repeat(3000), story).text(), mote.generate('x', story).text(), mote.embed('x')].map(outcome);
        await new Promise((resume) => setTimeout(resume, 50));
        mote.unload();
        mote.unload();
        codes[worker] = (await Promise.all(waiting)).map(({ code }) => code);
        codes[worker].push((await outcome(mote.tokenize('x'))).code, mote.closed);
      }
      return codes;
    }, LONG);
    for (const codes of Object.values(got)) {
      assert.deepEqual([codes[0], codes[1], codes[3], codes[4]], ['unloaded', 'unloaded', 'unloaded', true]);
      assert.ok(['unloaded', 'argument'].includes(codes[2]));
    }
  });

  await test('a worker that crashes, or ends without a word', async (context) => {
    const page = await blank(context, server.origin);
    const got = await page.evaluate(async (url) => {
      const results = {};
      for (const how of ['throw new Error("boom")', 'close()']) {
        const workerUrl = URL.createObjectURL(new Blob([`importScripts('${location.origin}/web/dist/worker.js'); addEventListener('message', ({ data }) => { if (data.op === 'generate') setTimeout(() => { ${how} }, 30) })`]));
        const mote = await motelm.Mote.load(url, { context: 8192, workerUrl });
        const died = await outcome(mote.generate('The king '.repeat(3000), story).text());
        results[how] = { died, after: await outcome(mote.tokenize('x')) };
      }
      const missing = await outcome(motelm.Mote.load(url, { workerUrl: '/no/worker.js' }));
      return { ...results, missing };
    }, LONG);
    for (const { died, after } of [got['throw new Error("boom")'], got['close()']]) {
      assert.deepEqual([died.code, after.code], ['crashed', 'crashed']);
    }
    assert.equal(got.missing.code, 'environment');
  });

  await test('the page has its turn all the time, with a worker or without', async (context) => {
    const page = await blank(context, server.origin);
    const got = await page.evaluate(async (url) => {
      /** How long the page waits for its turn during `work`. */
      const waitsDuring = async (work) => {
        const waits = [];
        let running = true;
        let last = performance.now();
        const turn = () => {
          const now = performance.now();
          waits.push(now - last);
          last = now;
          if (running) setTimeout(turn, 1);
        };
        setTimeout(turn, 1);
        const whole = await timed(work);
        running = false;
        waits.push(performance.now() - last);
        waits.sort((a, b) => a - b);
        return { whole, usual: waits[Math.floor(waits.length * 0.9)], longest: waits.at(-1) };
      };
      const waits = {};
      for (const worker of [true, false]) {
        const mote = await motelm.Mote.load(url, { context: 8192, worker });
        waits[worker ? 'worker' : 'slices'] = await waitsDuring(() => mote.generate('The king '.repeat(1300), { ...story, maxTokens: 20 }).text());
        mote.unload();
      }
      return waits;
    }, LONG);
    for (const [how, { whole, usual, longest }] of Object.entries(got)) {
      console.log(`  ${how}: of ${whole.toFixed(0)} ms the page waited ${usual.toFixed(0)} at a time (90th percentile), ${longest.toFixed(0)} at most`);
      // Nearly all of that time is one prompt; unsliced, it would be one wait.
      assert.ok(longest < whole / 2, `${how}: ${longest} ms of ${whole} ms`);
    }
  });

  await test('generation goes on while the page is busy', async (context) => {
    const page = await blank(context, server.origin);
    const got = await page.evaluate(async (url) => {
      const mote = await motelm.Mote.load(url);
      const options = { ...story, maxTokens: 200 };
      const alone = await timed(() => mote.generate('Once upon a time', options).text());
      const generation = mote.generate('The king', options);
      await generation[Symbol.asyncIterator]().next();
      const busy = 1000 + 3 * alone;
      const until = performance.now() + busy;
      while (performance.now() < until); // The page does nothing else.
      const { usage, timings } = await generation.result;
      return { tokens: usage.completionTokens, took: timings.completionMs, busy };
    }, LONG);
    assert.ok(got.tokens > 50 && got.took < got.busy, `${got.tokens} tokens took the engine ${got.took} ms; the page was busy for ${got.busy} ms`);
  });

  await test('a policy without blob: workers: in slices by itself, in a worker with its address', async (context) => {
    const page = await blank(context, server.origin, 'csp');
    const got = await page.evaluate(async (url) => {
      const by = async (options) => {
        const mote = await motelm.Mote.load(url, options);
        const text = await mote.generate('Once upon a time', story).text();
        const { running } = mote;
        mote.unload();
        return { text, running };
      };
      return [await by({}), await by({ workerUrl: '/web/dist/worker.js' }), await by({ workerUrl: '/web/dist/worker.js', wasmUrl: '/web/dist/wasm/' })];
    }, TALES);
    assert.deepEqual(got.map(({ running }) => running.worker), [false, true, true]);
    assert.ok(got[0].text.length > 20);
    assert.equal(got[1].text, got[0].text);
    assert.equal(got[2].text, got[0].text);
  });

  await test('inside a worker, in a worker of its own or in slices', async (context) => {
    const page = await blank(context, server.origin);
    const told = await page.evaluate(async (url) => {
      const script = `import { Mote } from '${location.origin}/web/dist/index.js';
        const tell = async (worker) => { const mote = await Mote.load('${url}', { worker }); return mote.generate('Once upon a time', ${JSON.stringify(story)}).text(); };
        postMessage([await tell(true), await tell(false)]);`;
      const worker = new Worker(URL.createObjectURL(new Blob([script], { type: 'text/javascript' })), { type: 'module' });
      return new Promise((resolve, reject) => {
        worker.onmessage = ({ data }) => resolve(data);
        worker.onerror = ({ message }) => reject(new Error(message));
      });
    }, TALES);
    assert.ok(told[0].length > 20);
    assert.equal(told[0], told[1]);
  });

  await test('a model that no page can hold is refused by its header', async (context) => {
    const page = await blank(context, server.origin);
    const got = await page.evaluate(async (vast, large) => {
      const { Mote } = motelm;
      const longer = await Mote.plan(large, { context: 2 ** 20 });
      return { plan: await Mote.plan(vast), load: await outcome(Mote.load(vast)), longer, shorter: await Mote.plan(large, { context: 256 }) };
    }, vast(32), vast(3));
    assert.equal(got.plan.fits, false);
    assert.match(got.plan.reason, / 2[23]\d{9} bytes/);
    assert.equal(got.load.code, 'memory');
    assert.equal(got.load.message, got.plan.reason);
    assert.equal(got.longer.fits, false, 'the context counts');
    assert.equal(got.shorter.fits, true);
    assert.ok(got.shorter.memory.total > 2e9);
  });

  await test('a model of more than 4 GiB is loaded with 64-bit addresses, or refused', async (context, browser) => {
    const page = await blank(context, server.origin);
    const room = freemem() > 8e9;
    const got = await page.evaluate(async (url, room) => {
      const { Mote } = motelm;
      const options = { context: 64, cache: false };
      const refused = [{ build: 'simd128' }, { memoryLimit: 4e9 }].map((more) => Mote.load(url, { ...options, ...more }));
      if (!wide) refused.push(Mote.load(url, options));
      refused.push(Mote.load(await fetch(url), options)); // It cannot be begun again.
      const codes = (await Promise.all(refused.map(outcome))).map(({ code }) => code);
      const plan = await Mote.plan(url, options);
      if (!wide || !room) return { codes, plan, wide };
      const mote = await Mote.load(url, options);
      const last = (await mote.tokenize('The king')).at(-1);
      const told = await mote.detokenize([0, 1, 2, 3, 4].map((n) => last + n));
      const text = await mote.generate('The king', { temperature: 0, maxTokens: 4 }).text();
      const { running } = mote;
      const held = await mote.heldMemory();
      mote.unload();
      return { codes, plan, wide, told, text, running, held };
    }, vast(7), room);
    assert.deepEqual(got.codes, Array(got.codes.length).fill('memory'));
    assert.equal(got.plan.fits, got.wide);
    if (!got.wide) return console.log(`  SKIPPED: ${browser} has no relaxed vectors with 64-bit addresses`);
    assert.equal(got.plan.build, 'relaxed64');
    if (!room) return console.log('  SKIPPED: less than 8 GB of memory are free');
    assert.deepEqual(got.running, { build: 'relaxed64', worker: true, threads: 1 });
    assert.ok(got.held > 2 ** 32 && got.held < got.plan.memory.total + 16 * 2 ** 20, `${got.held} held, ${got.plan.memory.total} planned`);
    assert.ok(got.text.length > 3 && got.told.endsWith(got.text), `${got.text} is the end of ${got.told}`);
  });
});
