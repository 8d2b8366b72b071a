// The page in demo/, used as a person would: with a keyboard, with a local file, offline, on a phone.
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import { after } from 'node:test';
import { inBrowsers } from './browsers.mjs';
import { root, serve } from './server.mjs';

const server = await serve();
after(() => server.close());
/** Random weights, but a chat template: what it says is nonsense, how it is asked is not. */
const CHAT = `${root}tests/golden/models/qwen2-256/model-Q4_K_M.gguf`;

async function open(context, { hash = '', phone = false } = {}) {
  const page = await context.newPage();
  page.setDefaultTimeout(60_000);
  page.errors = [];
  page.on('pageerror', (error) => page.errors.push(String(error)));
  const size = phone ? { width: 390, height: 780 } : { width: 1280, height: 820 };
  // Beside the size, Firefox is told how the screen stands, which older ones do not know.
  await page.setViewport(size).catch((error) => assert.match(String(error), /unknown command/));
  await page.waitForFunction((width) => innerWidth === width, {}, size.width);
  await page.goto(`${server.origin}/plain/web/demo/index.html${hash}`);
  await page.waitForSelector('.dot.ready');
  return page;
}

const text = (page, selector) => page.$eval(selector, (element) => element.textContent);

inBrowsers(async (test) => {
  await test('a story by keyboard alone, again, copied, and there after a reload', async (context) => {
    const page = await open(context);
    assert.equal(await text(page, '#model-name'), 'tales-2M');
    assert.match(await text(page, '#memory'), /\d MB/);
    await page.focus('#prompt');
    // Long enough that the story behind it may be short.
    const prompt = 'The king had a daughter who was so beautiful that';
    await page.keyboard.type(prompt);
    await page.keyboard.press('Enter');
    await page.waitForSelector('.foot');
    const story = await text(page, '.story .text');
    assert.match(story, new RegExp(`^${prompt}.+`, 's'));
    assert.match(await text(page, '.foot'), /\d+ tokens · \d+ per second/);
    assert.match(await text(page, '#speed'), /\d t\/s/);
    assert.match(await text(page, '#context'), /^\d{2,3} \/ 256$/);
    assert.match(await text(page, '#said'), /^Answer complete: /);
    await page.reload();
    await page.waitForSelector('.dot.ready');
    assert.equal(await text(page, '.story .text'), story);
    await page.$$eval('.foot button', (buttons) => buttons.at(-1).click());
    await page.waitForFunction((before) => document.querySelector('.foot') && document.querySelector('.story .text').textContent !== before, {}, story);
    await page.click('#new-chat');
    assert.equal(await page.$$eval('#messages li', (items) => items.length), 0);
    assert.deepEqual(page.errors, []);
  });

  await test('a chat with a model from this device, stopped in the middle', async (context) => {
    const page = await open(context);
    await page.click('#model-button');
    await (await page.$('#file')).uploadFile(CHAT);
    await page.waitForFunction(() => !document.getElementById('models').open);
    assert.match(await text(page, '#hello-title'), /mind/);
    await page.click('#settings-button');
    await page.$eval('#settings-form input[type=range]', (input) => {
      input.value = '2';
      input.dispatchEvent(new Event('input'));
    });
    await page.type('#settings textarea', 'Be terse.');
    assert.equal(await page.$eval('#settings textarea', ({ value }) => value), 'Be terse.');
    await page.keyboard.press('Escape');
    assert.equal(await page.$eval('#settings', ({ hidden }) => hidden), true);
    await page.type('#prompt', 'Hello there');
    await page.click('#send');
    // Random weights may also have nothing to say.
    await page.waitForFunction(() => document.querySelector('#messages li:last-child .text')?.textContent.length > 5 || document.querySelector('.foot'));
    await page.evaluate(() => document.getElementById('stop').click());
    await page.waitForSelector('.foot');
    assert.equal(await text(page, '.mine'), 'Hello there');
    assert.match(await text(page, '.foot'), /stopped after|tokens/);
    assert.deepEqual(page.errors, []);
  });

  await test('markdown becomes elements, and markup stays text', async (context) => {
    const page = await open(context);
    const html = await page.evaluate(async () => {
      const { show } = await import('./markdown.js');
      const element = document.createElement('div');
      const source = '# Title\n\nSome **bold** `a<b` *soft* and <img src=x onerror=alert(1)>\n\n- one\n  - inner\n- two\n\n```js\nlet x = 1;\n```\n\n[ok](https://a.example/b) [bad](javascript:alert(1))\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n> said\n\n3. three';
      // As it streams in, every beginning is shown once.
      for (let n = 1; n <= source.length; n++) show(element, source.slice(0, n));
      const streamed = element.innerHTML;
      const whole = document.createElement('div');
      show(whole, source);
      return { streamed, whole: whole.innerHTML };
    });
    assert.equal(html.streamed, html.whole);
    for (const part of ['<h1>Title</h1>', '<strong>bold</strong>', '<code>a&lt;b</code>', '<em>soft</em>', '&lt;img src=x', '<li>one<ul><li>inner</li></ul></li>', '<pre><code>let x = 1;</code></pre>', 'href="https://a.example/b"', '[bad](javascript:alert(1))', '<th>a</th>', '<blockquote><p>said</p></blockquote>', '<ol start="3">']) {
      assert.ok(html.whole.includes(part), `${part} in ${html.whole}`);
    }
    assert.ok(!/<img|href="javascript/.test(html.whole));
  });

  await test('a file is inspected, and its tensors found', async (context) => {
    const page = await open(context, { hash: '#inspect' });
    await page.waitForSelector('.tiles');
    assert.match(await text(page, '.tiles'), /tales-2M/);
    await (await page.$('#inspect-file')).uploadFile(CHAT);
    await page.waitForFunction(() => document.querySelector('.tiles')?.textContent.includes('qwen2'));
    await page.$$eval('details', ([, tensors]) => (tensors.open = true));
    await page.type('details:nth-of-type(2) input', 'attn_q.weight');
    const rows = await page.$$eval('details:nth-of-type(2) tbody tr:not([hidden])', (rows) => rows.map(({ textContent }) => textContent));
    assert.ok(rows.length > 0 && rows.every((row) => row.includes('attn_q.weight')), rows.join());
    await page.type('#inspect-url', `${server.origin}/nothing.gguf`);
    await page.click('#inspect-form .primary');
    await page.waitForFunction(() => document.getElementById('inspect-error').textContent.includes('404'));
    assert.deepEqual(page.errors, []);
  });

  await test('texts are compared, with the reference vectors of a model from elsewhere', async (context) => {
    const golden = resolve(root, process.env.MOTE_GOLDEN ?? '../shared/golden');
    const folder = `${golden}/models/bert`;
    const expected = await readFile(`${folder}/expected.json`, 'utf8').catch(() => undefined);
    if (!expected) return console.log(`  not compared: there is no ${folder}`);
    const texts = JSON.parse(expected).prompts.map(({ text }) => text).filter((text) => text?.trim() && !text.includes('\n') && text === text.trim());
    const reference = new Float32Array((await readFile(`${folder}/embedding-mean.f32`)).buffer.slice(0, 5 * 64 * 4));
    const page = await open(context, { hash: '#compare' });
    await page.click('#model-button');
    await (await page.$('#file')).uploadFile(`${folder}/model-mean-f32.gguf`);
    await page.waitForFunction(() => !document.getElementById('models').open);
    await page.$eval('#texts', (element, texts) => (element.value = texts.join('\n')), texts);
    await page.click('#compare-form .primary');
    await page.waitForSelector('.matrix');
    const shown = await page.$$eval('.matrix tbody td', (cells) => cells.map(({ textContent }) => Number(textContent)));
    const row = (text) => JSON.parse(expected).prompts.findIndex((prompt) => prompt.text === text);
    const vector = (text) => reference.subarray(row(text) * 64, row(text) * 64 + 64);
    const cosines = texts.flatMap((a) => texts.map((b) => vector(a).reduce((sum, x, i) => sum + x * vector(b)[i], 0)));
    assert.equal(shown.length, cosines.length);
    shown.forEach((cosine, i) => assert.ok(Math.abs(cosine - cosines[i]) < 0.006, `${cosine} for ${cosines[i]}`));
    assert.match(await text(page, '#compare-hint'), /vectors of 64 numbers/);
    assert.deepEqual(page.errors, []);
  });

  await test('what cannot be done is explained', async (context) => {
    const page = await open(context, { hash: '#compare' });
    assert.match(await text(page, '#compare-hint'), /needs a model for embeddings/);
    await page.click('#model-button');
    await page.type('#url', `${server.origin}/README.md`);
    await page.click('#plan');
    await page.waitForFunction(() => document.getElementById('plan-result').textContent.includes('no GGUF file'));
    await page.click('#url-form .primary');
    await page.waitForFunction(() => document.getElementById('models-error').textContent.includes('no GGUF file'));
    assert.equal(await text(page, '#model-name'), 'tales-2M', 'the model that was there is still there');
    await page.keyboard.press('Escape');
    assert.deepEqual(page.errors, []);
  });

  await test('nothing is wider than a phone, every control has a name, and the colours switch', async (context) => {
    const page = await open(context, { phone: true });
    for (const view of ['#chat', '#inspect', '#compare']) {
      await page.evaluate((view) => (location.hash = view), view);
      const wide = await page.$$eval(`${view}, ${view} > *, ${view} button, ${view} h1, ${view} p`, (all) => all.map((element) => [element.getBoundingClientRect().right, element.outerHTML.slice(0, 90)]).filter(([right]) => right > 390));
      assert.deepEqual(wide, [], view);
    }
    const nameless = await page.$$eval('button, input, textarea, a', (all) =>
      all.filter((element) => !(element.textContent.trim() || element.ariaLabel || element.labels?.length || element.title)).map(({ outerHTML }) => outerHTML),
    );
    assert.deepEqual(nameless, []);
    const themes = [];
    for (let i = 0; i < 3; i++) {
      themes.push(await page.evaluate(() => getComputedStyle(document.body).backgroundColor));
      await page.click('#theme');
    }
    assert.notEqual(themes[0], themes[1]);
    assert.equal(themes[0], themes[2]);
  });
});
