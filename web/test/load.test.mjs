// Loading from everything that holds bytes, and everything that a loaded model does.
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { after } from 'node:test';
import { blank, inBrowsers } from './browsers.mjs';
import { root, serve } from './server.mjs';

const server = await serve();
after(() => server.close());
const TALES = `${server.origin}/models/tales-2M-Q8_0.gguf`;
let everywhere;
const bytes = await readFile(`${root}models/tales-2M-Q8_0.gguf`);

inBrowsers(async (test) => {
  await test('a URL, a blob, bytes, streams and a response tell the same story', async (context) => {
    const page = await blank(context, server.origin);
    const told = await page.evaluate(async (url) => {
      const { Mote } = motelm;
      const bytes = await (await fetch(url)).arrayBuffer();
      const stream = () => new Blob([bytes]).stream();
      const sources = [url, new URL(url), new File([bytes], 'tales.gguf'), bytes, new Uint8Array(bytes), stream(), await fetch(url)];
      const told = [];
      for (const source of sources) {
        const progress = [];
        const mote = await Mote.load(source, { onProgress: (event) => progress.push(event) });
        const text = await mote.generate('Once upon a time', story).text();
        told.push({ text, last: progress.at(-1), info: mote.info, running: mote.running });
        mote.unload();
      }
      return { told, left: bytes.byteLength, relaxed };
    }, TALES);
    assert.equal(told.left, bytes.length, 'the bytes are still the caller’s');
    assert.equal(told.told.length, 7);
    for (const { text, last, info, running } of told.told) {
      assert.equal(text, told.told[0].text);
      assert.match(text, /^ there .{50}/s);
      assert.deepEqual([last.phase, last.loaded], ['ready', bytes.length]);
      assert.deepEqual([info.name, info.context, info.layers, info.quantization], ['tales-2M', 256, 4, 'Q8_0']);
      assert.deepEqual(running, { build: told.relaxed ? 'relaxed' : 'simd128', worker: true, threads: 1 });
    }
  });

  await test('the baseline build tells the same story in every browser', async (context) => {
    const page = await blank(context, server.origin);
    const told = await page.evaluate(async (url) => {
      const mote = await motelm.Mote.load(url, { build: 'simd128' });
      return { text: await mote.generate('Once upon a time', story).text(), build: mote.running.build };
    }, TALES);
    assert.equal(told.build, 'simd128');
    assert.equal(told.text, (everywhere ??= told.text));
  });

  await test('the build with 64-bit addresses tells the story of the one with 32', async (context, browser) => {
    const page = await blank(context, server.origin);
    const got = await page.evaluate(async (url) => {
      const tell = async (build, worker) => {
        const mote = await motelm.Mote.load(url, { build, worker });
        const text = await mote.generate('Once upon a time', story).text();
        const told = { text, running: mote.running, echo: await mote.detokenize(await mote.tokenize('Größe ✓')), state: (await mote.save()).join() };
        mote.unload();
        return told;
      };
      return { narrow: relaxed && (await tell('relaxed', true)), wide: await outcome(tell('relaxed64', true)), page: await outcome(tell('relaxed64', false)), has: wide };
    }, TALES);
    assert.equal(got.page.code, 'environment');
    if (!got.has) {
      console.log(`  SKIPPED: ${browser} has no relaxed vectors with 64-bit addresses`);
      assert.equal(got.wide.code, 'environment');
      return;
    }
    assert.deepEqual(got.wide.value.running, { build: 'relaxed64', worker: true, threads: 1 });
    assert.deepEqual({ ...got.wide.value, running: null }, { ...got.narrow, running: null });
  });

  await test('text comes in pieces, with why it ended and what it took', async (context) => {
    const page = await blank(context, server.origin);
    const { pieces, result, again, left } = await page.evaluate(async (url) => {
      const mote = await motelm.Mote.load(url);
      const generation = mote.generate('Once upon a time', story);
      const pieces = [];
      for await (const piece of generation) pieces.push(piece);
      const result = await generation.result;
      const again = await mote.generate(`Once upon a time${result.text}`, story).result;
      // Leaving a loop stops the model, which is free for the next text at once.
      let left = '';
      for await (const piece of mote.generate('The king', { ...story, maxTokens: 10_000 })) if ((left += piece).length > 20) break;
      return { pieces, result, again, left };
    }, TALES);
    assert.ok(pieces.length > 10);
    assert.equal(pieces.join(''), result.text);
    assert.equal(result.stopReason, 'length');
    assert.deepEqual(result.usage, { promptTokens: 6, reusedTokens: 0, completionTokens: 30 });
    assert.ok(result.timings.tokensPerSecond > 1);
    assert.ok(again.usage.reusedTokens > 25, `the text so far is not worked off again: ${JSON.stringify(again.usage)}`);
    assert.ok(left.length > 20);
  });

  await test('tokens, memory, plans, headers, saved states, and the shape of OpenAI', async (context) => {
    const page = await blank(context, server.origin);
    const got = await page.evaluate(async (url) => {
      const { Mote } = motelm;
      const mote = await Mote.load(url, { context: 200 });
      const tokens = await mote.tokenize('The king');
      const template = '{% for m in messages %}{{ m.content }}{% endfor %}';
      const messages = [{ role: 'user', content: 'Once upon a time' }];
      await mote.generate('Once upon a time', story).text();
      const state = await mote.save();
      const other = await Mote.load(url, { context: 200 });
      await other.restore(state);
      const resumed = await other.generate('Once upon a time', story).result;
      const chunks = [];
      const request = { messages, template, temperature: 0.6, top_k: 40, seed: 42, max_tokens: 30 };
      for await (const chunk of await mote.openai.chat.completions.create({ ...request, stream: true, stream_options: { include_usage: true } })) chunks.push(chunk);
      return {
        tokens: [...tokens],
        text: await mote.detokenize(tokens),
        count: await mote.countTokens('The king'),
        memory: await mote.memory(),
        less: await mote.memory({ context: 100 }),
        held: await mote.heldMemory(),
        plan: await Mote.plan(url, { context: 200 }),
        inspection: await Mote.inspect(url),
        plain: await mote.generate('Once upon a time', story).text(),
        resumed,
        chat: await mote.chat(messages, { ...story, template }).text(),
        completion: await mote.openai.chat.completions.create(request),
        chunks,
        untemplated: await outcome(mote.chat(messages).text()),
        noVectors: await outcome(mote.embed('The king')),
        badOption: await outcome(mote.generate('x', { maxTokens: -1 }).text()),
        tooLong: await outcome(mote.generate('The king '.repeat(500), story).text()),
      };
    }, TALES);
    assert.equal(got.tokens.length, got.count);
    assert.match(got.text, /The king$/);
    assert.deepEqual(got.memory, got.plan.memory);
    assert.ok(got.less.session < got.memory.session);
    assert.ok(got.held > got.memory.weights);
    assert.equal(got.plan.fits, true);
    assert.equal(got.inspection.metadata['general.architecture'], 'llama');
    assert.equal(got.inspection.tensors.find(({ name }) => name === 'token_embd.weight').type, 'Q8_0');
    assert.equal(got.resumed.text, got.plain);
    assert.ok(got.resumed.usage.reusedTokens > 0);
    assert.equal(got.chat, got.plain);
    assert.equal(got.completion.choices[0].message.content, got.plain);
    assert.equal(got.completion.choices[0].finish_reason, 'length');
    assert.equal(got.completion.usage.completion_tokens, 30);
    assert.equal(got.chunks.map(({ choices }) => choices[0]?.delta.content ?? '').join(''), got.plain);
    assert.equal(got.chunks.at(-1).usage.completion_tokens, 30);
    assert.deepEqual([got.untemplated.code, got.noVectors.code, got.badOption.code, got.tooLong.code], ['argument', 'argument', 'argument', 'context']);
  });

  await test('files that a model is split into, and a file of the hub', async (context) => {
    const page = await blank(context, server.origin);
    const got = await page.evaluate(async (origin, url) => {
      const { Mote, hubUrl } = motelm;
      const tell = async (source) => {
        const mote = await Mote.load(source);
        return { text: await mote.generate('Once upon a time', story).text(), info: mote.info, memory: await mote.memory() };
      };
      const parts = [1, 2].map((n) => `${origin}/split/${n}`);
      const blobs = await Promise.all(parts.map(async (part) => (await fetch(part)).blob()));
      return {
        whole: await tell(url),
        split: await tell(parts),
        blobs: await tell(blobs),
        streams: await tell(blobs.map((blob) => blob.stream())),
        plan: await Mote.plan(parts),
        half: await outcome(Mote.load(parts[0])),
        hub: await tell({ repo: 'some/one', file: 'tales.gguf', endpoint: `${origin}/hub/` }),
        url: hubUrl({ repo: 'o/r', file: 'a b/c.gguf', revision: 'v1' }),
      };
    }, server.origin, TALES);
    for (const how of ['split', 'blobs', 'streams', 'hub']) assert.equal(got[how].text, got.whole.text, how);
    assert.equal(got.split.info.bytes, got.plan.info.bytes);
    assert.deepEqual(got.split.memory, got.plan.memory);
    assert.equal(got.half.code, 'file');
    assert.equal(got.url, 'https://huggingface.co/o/r/resolve/v1/a%20b/c.gguf');
  });

  await test('two models side by side, in a worker and in this thread', async (context) => {
    const page = await blank(context, server.origin);
    const { together, alone } = await page.evaluate(async (url) => {
      const { Mote } = motelm;
      const small = url.replace('2M', '280K');
      const load = () => Promise.all([Mote.load(url), Mote.load(small), Mote.load(url, { worker: false }), Mote.load(small, { worker: false })]);
      const tell = (mote) => mote.generate('Once upon a time', story).text();
      const motes = await load();
      const together = await Promise.all(motes.map(tell));
      const alone = [];
      for (const mote of motes) alone.push(await tell(mote));
      motes.forEach((mote) => mote.unload());
      return { together, alone };
    }, TALES);
    assert.deepEqual(together, alone);
    assert.equal(together[0], together[2]);
    assert.equal(together[1], together[3]);
    assert.notEqual(together[0], together[1]);
  });

  await test('a file that is none, is cut, is not there, or is another than was asked for', async (context) => {
    const page = await blank(context, server.origin);
    const sha256 = createHash('sha256').update(bytes).digest('hex');
    const got = await page.evaluate(
      async (url, sha256) => {
        const { Mote } = motelm;
        const bytes = new Uint8Array(await (await fetch(url)).arrayBuffer());
        const flipped = bytes.slice();
        flipped[8] = 255;
        const attempts = [new Uint8Array([1, 2, 3]), new Uint8Array(), bytes.slice(0, 1_000_000), bytes.slice(0, 3000), flipped, url + 'x', 'nope:/x', []];
        const codes = [];
        for (const source of attempts) codes.push((await outcome(Mote.load(source))).code ?? 'loaded');
        const right = await outcome(Mote.load(url, { sha256 }).then((mote) => mote.info.name));
        const wrong = await outcome(Mote.load(url, { sha256: sha256.replace(/^./, (digit) => (digit === '0' ? '1' : '0')), cache: 'reload' }));
        const small = await outcome(Mote.load(url, { memoryLimit: 3_000_000 }));
        return { codes, right, wrong, small, kept: await Mote.cache.list() };
      },
      TALES,
      sha256,
    );
    assert.deepEqual(got.codes, ['file', 'file', 'file', 'file', 'file', 'network', 'network', 'argument']);
    assert.equal(got.right.value, 'tales-2M');
    assert.equal(got.wrong.code, 'integrity');
    assert.deepEqual(got.kept, [], 'a file that failed its test is not kept');
    assert.equal(got.small.code, 'memory');
    assert.match(got.small.message, /it takes \d+ MiB/);
  });
});
