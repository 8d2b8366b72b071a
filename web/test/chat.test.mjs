// Chat templates are a module of their own: fetched for models that have one, while they load, and for no other.
import assert from 'node:assert/strict';
import { after } from 'node:test';
import { blank, inBrowsers } from './browsers.mjs';
import { serve } from './server.mjs';

const server = await serve();
after(() => server.close());
/** Continues texts, and has no template. */
const TALES = `${server.origin}/models/tales-2M-Q8_0.gguf`;
/** Random weights, but a template: what it says is nonsense, how it is asked is not. */
const CHAT = `${server.origin}/tests/golden/models/qwen2-256/model-Q4_K_M.gguf`;
const FOLDER = `${server.origin}/web/dist/wasm/`;

/** How often the module was asked for since the last time. */
function asked() {
  const all = server.requests.splice(0);
  return all.filter((request) => request.includes('/chat.wasm')).length;
}

inBrowsers(async (test) => {
  await test('it comes with a model that has a template, once, and not with another', async (context) => {
    const page = await blank(context, server.origin);
    asked();
    const without = await page.evaluate(async (url) => {
      const mote = await motelm.Mote.load(url);
      const told = await mote.generate('Once', story).text();
      const chat = await outcome(mote.chat([{ role: 'user', content: 'Hi' }]).text());
      globalThis.tales = mote;
      return { told, chat, count: await outcome(mote.countTokens([])) };
    }, TALES);
    assert.ok(without.told.length > 20);
    assert.deepEqual([without.chat.code, without.count.code], ['argument', 'argument']);
    assert.match(without.chat.message, /the model has no chat template/);
    assert.equal(asked(), 0);

    const own = await page.evaluate(async () => {
      const template = '{% for m in messages %}{{ m.content }}{% endfor %}{{ more }}';
      return tales.chat([{ role: 'user', content: 'Once upon' }], { template, variables: { more: ' a time' }, ...story }).text();
    });
    const plain = await page.evaluate(() => tales.generate('Once upon a time', story).text());
    assert.deepEqual([own, asked()], [plain, 1]);

    const fresh = await blank(context, server.origin);
    await fresh.evaluate(async (url) => (globalThis.mote = await motelm.Mote.load(url)), CHAT);
    assert.equal(asked(), 1);
    await fresh.evaluate((url) => motelm.Mote.load(url, { worker: false }), CHAT);
    assert.equal(asked(), 0);
  });

  await test('who has loaded a model chats without a network, and writes text where names of control tokens are', async (context) => {
    const page = await blank(context, server.origin);
    await page.evaluate(async (url) => (globalThis.motes = [await motelm.Mote.load(url), await motelm.Mote.load(url, { worker: false })]), CHAT);
    server.reachable(false);
    try {
      const said = await page.evaluate(() =>
        Promise.all(
          motes.map(async (mote) => {
            const tokens = (role) => mote.countTokens([{ role, content: '<|im_end|>' }, { role: 'user', content: 'Hi' }]);
            const { usage } = await mote.chat([{ role: 'user', content: 'Hi' }], story).result;
            return { prompt: usage.promptTokens, counted: await mote.countTokens([{ role: 'user', content: 'Hi' }]), user: await tokens('user'), assistant: await tokens('assistant') };
          }),
        ),
      );
      assert.deepEqual(said[0], said[1]);
      const [{ prompt, counted, user, assistant }] = said;
      assert.equal(prompt, counted);
      assert.ok(user > assistant, `${user} tokens with a name as text, ${assistant} with the token`);
    } finally {
      server.reachable(true);
    }
  });

  await test('when it cannot be fetched, chats fail and the model stays; when it can again, they do not', async (context) => {
    const page = await blank(context, server.origin);
    server.hide('/chat.wasm');
    try {
      const got = await page.evaluate(
        async ({ url, wasmUrl }) => {
          const results = [];
          for (const options of [{}, { worker: false }, { wasmUrl }]) {
            globalThis.mote = await motelm.Mote.load(url, options);
            const chat = await outcome(mote.chat([{ role: 'user', content: 'Hi' }]).text());
            const count = await outcome(mote.countTokens([{ role: 'user', content: 'Hi' }]));
            const { usage } = await mote.generate('Hi', { ...story, maxTokens: 3 }).result;
            results.push({ chat, count, tokens: usage.completionTokens, closed: mote.closed });
          }
          return results;
        },
        { url: CHAT, wasmUrl: FOLDER },
      );
      for (const { chat, count, tokens, closed } of got) {
        assert.deepEqual([chat.code, count.code, closed], ['network', 'network', false], chat.message);
        assert.ok(tokens > 0);
      }
    } finally {
      server.hide(undefined);
    }
    const { usage } = await page.evaluate(() => mote.chat([{ role: 'user', content: 'Hi' }], story).result);
    assert.ok(usage.promptTokens > 2);
  });

  await test('a module that is long in coming holds up a chat alone, which can be aborted', async (context) => {
    const page = await blank(context, server.origin);
    const got = await page.evaluate(
      async ({ url, wasmUrl }) => {
        const mote = await motelm.Mote.load(url, { wasmUrl });
        const chat = (signal) => outcome(mote.chat([{ role: 'user', content: 'Once' }], { signal }).text());
        const abort = new AbortController();
        const [aborted, unloaded] = [chat(abort.signal), chat()];
        const { usage } = await mote.generate('Once', { ...story, maxTokens: 3 }).result;
        abort.abort();
        const first = await aborted;
        mote.unload();
        return { usage, codes: [first.code, (await unloaded).code] };
      },
      { url: CHAT, wasmUrl: `${server.origin}/stalls/` },
    );
    assert.ok(got.usage.completionTokens > 0);
    assert.deepEqual(got.codes, ['aborted', 'unloaded']);
  });

  await test('it lies beside the engine where that comes from an address, under a policy, too', async (context) => {
    for (const mode of ['plain', 'csp']) {
      const page = await blank(context, server.origin, mode);
      asked();
      const counts = await page.evaluate(
        async ({ url, folder }) => {
          const counts = [];
          for (const wasmUrl of [folder, `${folder}simd128.wasm`, undefined]) {
            const mote = await motelm.Mote.load(url, { workerUrl: '/web/dist/worker.js', ...(wasmUrl && { wasmUrl }), build: 'simd128' });
            counts.push(await mote.countTokens([{ role: 'user', content: 'Hi' }]));
            mote.unload();
          }
          return counts;
        },
        { url: CHAT, folder: FOLDER },
      );
      assert.equal(new Set(counts).size, 1, mode);
      assert.equal(asked(), 2); // Folder and file name the same one.
    }
  });
});
