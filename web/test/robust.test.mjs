// What goes wrong, and what a page may forbid: every promise settles, and the page stays alive.
import assert from 'node:assert/strict';
import { after } from 'node:test';
import { blank, inBrowsers } from './browsers.mjs';
import { serve } from './server.mjs';

const server = await serve();
after(() => server.close());
const TALES = `${server.origin}/models/tales-2M-Q8_0.gguf`;
/** A context that takes seconds to fill. */
const LONG = `${TALES}?context=8192`;

inBrowsers(async (test) => {
  await test('work can be aborted at any time, and the model is free at once', async (context) => {
    const page = await blank(context, server.origin);
    const got = await page.evaluate(async (url) => {
      const { Mote } = motelm;
      const timed = async (work, after) => {
        const abort = new AbortController();
        const settled = outcome(work(abort.signal));
        await new Promise((resume) => setTimeout(resume, after));
        const before = performance.now();
        abort.abort();
        return { ...(await settled), ms: performance.now() - before };
      };
      const results = {};
      results.before = await outcome(Mote.load(url, { signal: AbortSignal.abort() }));
      results.download = await timed((signal) => Mote.load(`${url}&slow`, { signal }), 150);
      const mote = await Mote.load(url, { context: 8192 });
      const prompt = 'The king '.repeat(3900);
      results.prefill = await timed((signal) => mote.generate(prompt, { ...story, signal }).text(), 300);
      const before = performance.now();
      await mote.generate('Once', { ...story, maxTokens: 1 }).text();
      results.free = performance.now() - before;
      results.decode = await timed((signal) => mote.generate('Once', { ...story, maxTokens: 8000, stop: [] , signal }).text(), 60);
      const inline = await Mote.load(url, { context: 8192, worker: false });
      results.inline = await timed((signal) => inline.generate(prompt, { ...story, signal }).text(), 300);
      results.waiting = await timed((signal) => (void outcome(mote.generate(prompt, story).text()), mote.generate('x', { ...story, signal }).text()), 50);
      mote.unload();
      inline.unload();
      return results;
    }, LONG);
    assert.equal(got.before.code, 'aborted');
    for (const what of ['download', 'prefill', 'decode', 'inline', 'waiting']) {
      assert.equal(got[what].code, 'aborted', `${what}: ${JSON.stringify(got[what])}`);
      assert.equal(got[what].name, 'AbortError');
      assert.ok(got[what].ms < 100, `${what}: ${got[what].ms} ms`);
    }
    console.log(`  aborted after (ms): prefill ${got.prefill.ms.toFixed(1)}, free again ${got.free.toFixed(1)}, inline ${got.inline.ms.toFixed(1)}`);
    assert.ok(got.free < 3000, `the engine went on for ${got.free} ms`);
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
        await work();
        running = false;
        waits.sort((a, b) => a - b);
        return { turns: waits.length, usual: waits[Math.floor(waits.length * 0.9)], longest: waits.at(-1) };
      };
      const waits = {};
      for (const worker of [true, false]) {
        const work = async () => {
          const mote = await motelm.Mote.load(url, { worker });
          await mote.generate('The king '.repeat(600), { ...story, maxTokens: 200 }).text();
          mote.unload();
        };
        await work(); // compiles
        waits[worker ? 'worker' : 'slices'] = await waitsDuring(work);
      }
      return waits;
    }, LONG);
    const shown = Object.entries(got).map(([how, { usual, longest }]) => `${how} ${usual.toFixed(0)}, longest ${longest.toFixed(0)}`);
    console.log(`  the page's waits (ms, 90th percentile): ${shown.join('; ')}`);
    // Turns, not milliseconds: whatever else this machine does is in those.
    assert.ok(got.worker.turns > 30 && got.slices.turns > 30, JSON.stringify(got));
  });

  await test('generation goes on while the page is busy', async (context) => {
    const page = await blank(context, server.origin);
    const got = await page.evaluate(async (url) => {
      const mote = await motelm.Mote.load(url);
      const generation = mote.generate('Once upon a time', { ...story, maxTokens: 200 });
      const iterator = generation[Symbol.asyncIterator]();
      await iterator.next();
      const until = performance.now() + 1500;
      while (performance.now() < until); // The page does nothing else.
      let ready = 1;
      const end = performance.now() + 50;
      for (let next = await iterator.next(); !next.done && performance.now() < end; next = await iterator.next()) ready += 1;
      return { ready, result: await generation.result };
    }, LONG);
    assert.ok(got.ready > 50, `only ${got.ready} pieces came while the page was busy`);
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
    const vast = `${server.origin}/vast.gguf?layers=8`;
    const got = await page.evaluate(async (url) => {
      const longer = await motelm.Mote.plan(url.replace('layers=8', 'layers=3'), { context: 2 ** 20 });
      return { plan: await motelm.Mote.plan(url), load: await outcome(motelm.Mote.load(url)), longer, shorter: await motelm.Mote.plan(url.replace('layers=8', 'layers=3'), { context: 256 }) };
    }, vast);
    assert.equal(got.plan.fits, false);
    assert.match(got.plan.reason, /a file of 5\d{9} bytes/);
    assert.equal(got.load.code, 'memory');
    assert.equal(got.load.message, got.plan.reason);
    assert.equal(got.longer.fits, false, 'the context counts');
    assert.equal(got.shorter.fits, true);
    assert.ok(got.shorter.memory.total > 2e9);
  });
});
