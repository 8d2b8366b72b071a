// Vectors of texts: the same however many are made at once, told what was read of each, and equal to the references.
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import { after } from 'node:test';
import { blank, inBrowsers } from './browsers.mjs';
import { root, serve } from './server.mjs';

const server = await serve();
after(() => server.close());
const TALES = `${server.origin}/models/tales-2M-Q8_0.gguf`;
const models = `${resolve(root, process.env.MOTE_GOLDEN ?? '../shared/golden')}/models`;

const cosine = (a, b) => a.reduce((sum, x, i) => sum + x * b[i], 0);

inBrowsers(async (test) => {
  await test('texts become vectors together or alone, in a worker or on the page', async (context) => {
    const page = await blank(context, server.origin);
    const got = await page.evaluate(async (url) => {
      const texts = Array.from({ length: 40 }, (_, i) => 'The king had a daughter. '.repeat(1 + (i % 7)) + i);
      const pooling = 'mean';
      const mote = await motelm.Mote.load(url);
      const here = await motelm.Mote.load(url, { worker: false });
      const { vectors, texts: told } = await mote.embedMany(texts, { pooling });
      const alone = [];
      for (const text of texts) alone.push(await mote.embed(text, { pooling }));
      const tokens = await mote.embed('The king', { pooling: 'none' });
      const abort = new AbortController();
      const aborted = outcome(mote.embed(Array(2000).fill('The king had a daughter. '), { pooling, signal: abort.signal }));
      begun(mote).then(() => abort.abort());
      return {
        vectors: vectors.map((vector) => [...vector]),
        alone: alone.map((vector) => [...vector]),
        here: (await here.embed(texts, { pooling })).map((vector) => [...vector]),
        told,
        counts: await Promise.all(texts.map((text) => mote.countTokens(text))),
        none: await mote.embed([], { pooling }),
        tokens: tokens.length / mote.info.dimensions,
        short: [...(await mote.embed(texts[3], { pooling, dim: 8 }))],
        asIs: [...(await mote.embed(texts[3], { pooling, normalize: false }))],
        cut: (await mote.embedMany([texts[6]], { pooling, maxTokens: 5 })).texts,
        titled: (await mote.embedMany([{ title: 'The king', text: 'and more' }, 'The king\nand more'], { pooling })).vectors.map((vector) => [...vector]),
        openai: await mote.openai.embeddings.create({ input: texts.slice(0, 2) }).catch(({ code }) => code),
        aborted: await aborted,
        wrong: [
          await outcome(mote.embed('x')),
          await outcome(mote.embed('x', { pooling, task: 'query' })),
          await outcome(mote.embed('x', { pooling, dim: 1e6 })),
          await outcome(mote.embed('x', { pooling: 'most' })),
          await outcome(mote.embed('x', { pooling: 'rank' })),
          await outcome(mote.embed([7], { pooling })),
          await outcome(mote.rank('x', ['y'])),
        ].map(({ code }) => code),
        story: await mote.generate('Once upon a time', story).text(),
      };
    }, TALES);
    assert.deepEqual(got.vectors, got.alone);
    assert.deepEqual(got.vectors, got.here);
    for (const vector of got.vectors) assert.ok(Math.abs(cosine(vector, vector) - 1) < 1e-5);
    assert.ok(cosine(got.vectors[0], got.vectors[3]) < 0.9999, 'texts differ');
    assert.deepEqual(got.told, got.counts.map((tokens) => ({ tokens, dropped: 0 })));
    assert.deepEqual(got.none, []);
    assert.equal(got.tokens, 3);
    const length = Math.hypot(...got.vectors[3].slice(0, 8));
    got.short.forEach((x, i) => assert.ok(Math.abs(x - got.vectors[3][i] / length) < 1e-5));
    assert.ok(Math.hypot(...got.asIs) > 1.1);
    assert.deepEqual(got.cut, [{ tokens: 5, dropped: got.counts[6] - 5 }]);
    assert.deepEqual(got.titled[0], got.titled[1]);
    assert.equal(got.openai, 'argument');
    assert.equal(got.aborted.code, 'aborted');
    assert.deepEqual(got.wrong, Array(7).fill('argument'));
    assert.ok(got.story.length > 20, 'it still tells stories');
  });

  for (const [model, file, reference] of [
    ['bert', 'model-mean-f32.gguf', 'embedding-mean.f32'],
    ['gemma-embedding', 'model-dense-f32.gguf', 'embedding-dense.f32'],
  ]) {
    await test(`${model} has the vectors of its reference`, async (context) => {
      const folder = `${models}/${model}`;
      const expected = await readFile(`${folder}/expected.json`, 'utf8').catch(() => undefined);
      if (!expected) return console.log(`  not compared: there is no ${folder}`);
      const { prompts } = JSON.parse(expected);
      const numbers = new Float32Array((await readFile(`${folder}/${reference}`)).buffer.slice(0));
      const dim = numbers.length / prompts.length;
      // Those that are texts; some are only tokens.
      const rows = prompts.flatMap(({ text }, row) => (typeof text === 'string' ? [{ text, vector: numbers.subarray(row * dim, (row + 1) * dim) }] : []));
      const page = await blank(context, server.origin);
      const gguf = (await readFile(`${folder}/${file}`)).toString('base64');
      const got = await page.evaluate(
        async (gguf, texts) => {
          const mote = await motelm.Mote.load(await (await fetch(`data:;base64,${gguf}`)).arrayBuffer());
          const { vectors, texts: told } = await mote.embedMany(texts);
          const [task] = mote.info.tasks;
          return {
            info: mote.info,
            memory: await mote.memory(),
            vectors: vectors.map((vector) => [...vector]),
            told,
            alone: [...(await mote.embed(texts[0]))],
            prompted: task && (await mote.embedMany([texts[0], texts[0]], { task })).texts,
            usage: (await mote.openai.embeddings.create({ input: texts[0], dimensions: 8 })).usage,
            text: await outcome(mote.generate('x', story).text()),
          };
        },
        gguf,
        rows.map(({ text }) => text),
      );
      assert.ok(rows.length > 2 && got.info.embedding && got.memory.session > 0);
      rows.forEach(({ vector }, i) => assert.ok(cosine(vector, got.vectors[i]) > 0.9999, `text ${i}`));
      assert.deepEqual(got.alone, got.vectors[0]);
      assert.equal(got.usage.prompt_tokens, got.told[0].tokens);
      assert.equal(got.text.code, 'argument');
      if (model !== 'gemma-embedding') return assert.deepEqual(got.info.tasks, []);
      assert.ok(got.info.tasks.includes('query'));
      assert.ok(got.prompted[0].tokens > got.told[0].tokens);
    });
  }
});
