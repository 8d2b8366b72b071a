// Several threads: the same answers as with one, where they are allowed; elsewhere one; and every promise settles
// when one of them dies.
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
  await test('an isolated page has them, a plain one does without, and both tell the same story', async (context) => {
    const tell = (url) => (page) =>
      page.evaluate(async (url) => {
        const told = [];
        for (const options of [{}, { threads: 1 }, { threads: 2 }, { build: 'simd128', threads: 2 }, { worker: false }]) {
          const mote = await motelm.Mote.load(url, options);
          // Long enough for both to have work, and with letters of several bytes on the way in and out.
          const prompt = 'Grüße — 今日は. '.repeat(5);
          const text = await mote.generate(`${prompt}Once upon a time`, { ...story, temperature: 0, maxTokens: 60 }).text();
          const state = await mote.save();
          await mote.restore(state);
          told.push({ text, echo: await mote.detokenize(await mote.tokenize(prompt)), state: state.length, running: mote.running, held: await mote.heldMemory(), planned: (await motelm.Mote.plan(url, options)).memory.total });
          mote.unload();
        }
        const wrong = [await outcome(motelm.Mote.load(url, { threads: 0 })), await outcome(motelm.Mote.load(url, { threads: 1.5 })), await outcome(motelm.Mote.load(url, { build: 'threads' })), await outcome(motelm.Mote.load(url, { build: 'threads', worker: false }))];
        return { told, wrong: wrong.map(({ code = null }) => code), cores: relaxed ? navigator.hardwareConcurrency : 1, relaxed };
      }, url);
    const isolated = await tell(TALES)(await blank(context, server.origin, 'coi'));
    const plain = await tell(TALES)(await blank(context, server.origin));
    const how = ({ told }) => told.map(({ running: { build, worker, threads } }) => `${build} ${worker} ${threads}`);
    const usual = Math.min(isolated.cores, 8, Math.max(2, isolated.cores >> 1));
    const one = isolated.relaxed ? 'relaxed' : 'simd128';
    const several = (n) => (isolated.cores > 1 ? `threads true ${n}` : `${one} true 1`);
    assert.deepEqual(how(isolated), [several(usual), `${one} true 1`, several(2), 'simd128 true 1', `${one} false 1`]);
    assert.deepEqual(how(plain), [`${one} true 1`, `${one} true 1`, `${one} true 1`, 'simd128 true 1', `${one} false 1`]);
    assert.deepEqual(isolated.wrong, ['argument', 'argument', isolated.relaxed ? null : 'environment', 'environment']);
    assert.deepEqual(plain.wrong, ['argument', 'argument', 'environment', 'environment']);
    const alike = [...isolated.told, ...plain.told].filter(({ running }) => (running.build === 'simd128') === (one === 'simd128'));
    for (const { text, echo, state, held, planned } of alike) {
      assert.equal(text, alike[0].text);
      assert.equal(echo, alike[0].echo);
      assert.equal(state, alike[0].state);
      assert.ok(held > planned && held < planned + 8 * 2 ** 20, `${held} held, ${planned} planned`);
    }
    assert.ok(alike[0].text.length > 20);
  });

  await test('two models side by side, and a prompt that is aborted', async (context) => {
    const page = await blank(context, server.origin, 'coi');
    const got = await page.evaluate(async (url) => {
      const [one, two] = await Promise.all([motelm.Mote.load(url, { context: 8192 }), motelm.Mote.load(url, { context: 8192 })]);
      const alone = await one.generate('Once upon a time', story).text();
      const both = await Promise.all([one, two].map((mote) => mote.generate('Once upon a time', story).text()));
      const abort = new AbortController();
      const prompt = 'The king '.repeat(1300);
      const whole = await timed(() => one.generate(prompt, { ...story, maxTokens: 1 }).text());
      await one.generate('Once', { ...story, maxTokens: 1 }).text(); // What it held of the prompt is gone.
      const settled = outcome(one.generate(prompt, { ...story, signal: abort.signal }).text());
      await begun(one);
      abort.abort();
      const { code } = await settled;
      let again;
      const free = await timed(async () => (again = await one.generate('Once upon a time', story).text()));
      two.unload();
      const after = await one.generate('Once upon a time', story).text();
      one.unload();
      return { texts: new Set([alone, ...both, again, after]).size, code, whole, free };
    }, LONG);
    assert.equal(got.texts, 1);
    assert.equal(got.code, 'aborted');
    console.log(`  a prompt takes ${got.whole.toFixed(0)} ms; one that was aborted and a story, ${got.free.toFixed(0)} ms`);
    assert.ok(got.free < got.whole / 2, `${got.free} ms of ${got.whole} ms`);
  });

  await test('a thread that never comes, one that dies at work, one that traps, memory that is refused', async (context) => {
    const page = await blank(context, server.origin, 'coi');
    const got = await page.evaluate(async (url) => {
      const engine = `${location.origin}/coi/web/dist/worker.js`; // isolated as well
      const worker = (script) => URL.createObjectURL(new Blob([script], { type: 'text/javascript' }));
      /** A worker that does as it should until it is to be a thread. */
      const asThread = (script) => worker(`addEventListener('message', (event) => { if (event.data.op === 'help') { ${script} } }); importScripts('${engine}');`);
      const scripts = {
        absent: asThread('event.stopImmediatePropagation();'),
        traps: asThread(`
          const real = WebAssembly.Instance;
          WebAssembly.Instance = function (...args) {
            return { exports: { ...new real(...args).exports, work() { throw new WebAssembly.RuntimeError('unreachable'); } } };
          };`),
        // What is asked of it, it hands on to a worker of its own, which it ends while that works for the engine.
        dies: worker(`
          const inner = new Worker('${engine}');
          inner.onmessage = ({ data }) => postMessage(data);
          new BroadcastChannel('end').onmessage = () => helps && inner.terminate();
          let helps = false;
          onmessage = ({ data }) => {
            helps ||= data.op === 'help';
            inner.postMessage(data, data.op === 'help' ? [data.ask.port] : data.op === 'share' ? data.ask.ports : []);
          };`),
        refused: worker(`
          const real = WebAssembly.Memory;
          WebAssembly.Memory = function (limits) {
            if (limits.shared) throw new RangeError('could not allocate memory');
            return new real(limits);
          };
          importScripts('${engine}');`),
      };
      const results = {};
      for (const [how, workerUrl] of Object.entries(scripts)) {
        const loaded = await outcome(motelm.Mote.load(url, { context: 8192, workerUrl }));
        const mote = loaded.value;
        const running = mote?.running;
        let text = mote && outcome(mote.generate('Once upon a time', story).text());
        if (how === 'dies' && running.threads > 1) {
          new BroadcastChannel('end').postMessage('now');
          // A browser takes its time to end a worker that works.
          while (!(await text).code) text = outcome(mote.generate('The king '.repeat(1300), story).text());
        }
        results[how] = { code: loaded.code, running, text: await text };
        mote?.unload();
      }
      return { results, may: relaxed && navigator.hardwareConcurrency > 1 };
    }, LONG);
    if (!got.may) return console.log('  no threads here: one core, or no relaxed vectors');
    const { absent, traps, dies, refused } = got.results;
    assert.deepEqual(absent.running, { build: 'threads', worker: true, threads: 1 });
    assert.ok(absent.text.value.length > 20, JSON.stringify(absent));
    assert.equal(traps.code ?? traps.text.code, 'crashed', JSON.stringify(traps));
    assert.equal(dies.text.code, 'crashed', JSON.stringify(dies));
    assert.deepEqual(refused.running, { build: 'relaxed', worker: true, threads: 1 });
    assert.equal(refused.text.value, absent.text.value);
  });
});
