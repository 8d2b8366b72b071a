// What stays in the browser's storage: found again offline, taken up where it broke, refused where there is no room.
import assert from 'node:assert/strict';
import { after } from 'node:test';
import test from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { blank, inBrowsers, launch, names, withProfile } from './browsers.mjs';
import { numberedSha256, serve } from './server.mjs';

const server = await serve();
after(() => server.close());
const TALES = `${server.origin}/models/tales-2M-Q8_0.gguf`;
const MIB = 2 ** 20;

/** Gives a page `add.page` and `add.worker`: `cache.add` there, until `abortAt` bytes came; returns how it ended. */
function inWorker() {
  const code = async (url, { abortAt = Infinity, sha256, report }, Mote, tell) => {
    const abort = new AbortController();
    const phases = new Set();
    const onProgress = ({ loaded, phase }) => {
      phases.add(phase);
      if (report) tell(loaded);
      if (loaded > abortAt) abort.abort();
    };
    const ended = await Mote.cache.add(url, { sha256, signal: abort.signal, onProgress }).then(() => ({}), ({ code, name, message }) => ({ code, name, message }));
    return { ...ended, phases: [...phases] };
  };
  const script = `import { Mote } from '${location.origin}/web/dist/index.js';
    onmessage = async ({ data: [url, how] }) => postMessage({ ended: await (${code})(url, how, Mote, (loaded) => postMessage({ loaded })) });
    postMessage({});`;
  globalThis.add = {
    page: (url, how) => code(url, how, motelm.Mote, (loaded) => report(loaded)),
    worker: (url, how) =>
      new Promise((resolve, reject) => {
        const worker = new Worker(URL.createObjectURL(new Blob([script], { type: 'text/javascript' })), { type: 'module' });
        worker.onerror = ({ message }) => reject(new Error(message));
        worker.onmessage = ({ data: { loaded, ended } }) => {
          if (ended) resolve(ended);
          else if (loaded) report(loaded);
          else worker.postMessage([url, how]);
        };
      }),
  };
}

/** What was asked of the server for `url` since the last question. */
function asked(url) {
  const path = new URL(url).pathname + new URL(url).search;
  const found = server.requests.filter((request) => request.split(' ')[1] === path);
  server.requests.length = 0;
  return found.map((request) => request.replace(` ${path}`, ''));
}

inBrowsers(async (test) => {
  await test('the second load needs no server', async (context) => {
    const page = await blank(context, server.origin);
    const load = () =>
      page.evaluate(async (url) => {
        const phases = new Set();
        const mote = await motelm.Mote.load(url, { onProgress: ({ phase }) => phases.add(phase) });
        const text = await mote.generate('Once upon a time', story).text();
        mote.unload();
        return { phases: [...phases], text };
      }, TALES);
    const first = await load();
    assert.deepEqual(first.phases, ['download', 'ready']);
    asked(TALES);
    server.reachable(false);
    try {
      const second = await load();
      assert.deepEqual(second.phases, ['cache', 'ready']);
      assert.equal(second.text, first.text);
      assert.deepEqual(asked(TALES), []);
      const failed = await page.evaluate((url) => outcome(motelm.Mote.load(`${url}?other`)), TALES);
      assert.equal(failed.code, 'network');
      const stale = await page.evaluate((url) => outcome(motelm.Mote.load(url, { cache: 'revalidate' }).then((mote) => mote.info.name)), TALES);
      assert.equal(stale.value, 'tales-2M', 'offline, what is kept is as good as it gets');
    } finally {
      server.reachable(true);
    }
  });

  await test('files can be listed, added, evicted, deleted', async (context) => {
    const page = await blank(context, server.origin);
    const got = await page.evaluate(async (url) => {
      const { cache } = motelm.Mote;
      const small = url.replace('2M', '280K');
      await cache.add(small);
      await cache.add(url);
      const both = await cache.list();
      const usage = await cache.usage();
      const has = [await cache.has(url), await cache.has(`${url}?no`)];
      await cache.evict({ maxBytes: 2_100_000 });
      const evicted = await cache.list();
      await cache.delete(url);
      const none = await cache.list();
      await cache.add(small);
      await cache.clear();
      return { both, usage, has, evicted, none, cleared: await cache.list() };
    }, TALES);
    assert.deepEqual(got.both.map(({ size, stored, complete }) => ({ size, stored, complete })), [
      { size: 2037536, stored: 2037536, complete: true },
      { size: 313280, stored: 313280, complete: true },
    ]);
    assert.equal(got.usage.bytes, 2037536 + 313280);
    assert.ok(got.usage.available > MIB);
    assert.deepEqual(got.has, [true, false]);
    assert.deepEqual(got.evicted.map(({ url }) => url), [TALES]);
    assert.deepEqual([got.none, got.cleared], [[], []]);
  });

  await test('a connection that breaks is taken up where it broke', async (context) => {
    const page = await blank(context, server.origin);
    for (const more of ['', '&norange']) {
      const url = `${TALES}?break=700000${more}&${Math.random()}`;
      asked(url);
      const loaded = await page.evaluate((url) => outcome(motelm.Mote.load(url).then((mote) => mote.generate('Once', story).text())), url);
      assert.ok(loaded.value, JSON.stringify(loaded));
      const requests = asked(url);
      assert.equal(requests.length, 2);
      assert.match(requests[1], /^GET bytes=\d{6}-$/);
    }
  });

  await test('a file that a server would compress is kept all the same', async (context) => {
    const page = await blank(context, server.origin);
    const url = `${TALES}?gzip`;
    asked(url);
    const ratios = await page.evaluate(async (url) => {
      const ratios = [];
      (await motelm.Mote.load(url, { onProgress: ({ ratio }) => ratios.push(ratio) })).unload();
      return ratios;
    }, url);
    assert.deepEqual(asked(url), ['GET', 'GET bytes=0-']);
    assert.ok(ratios.every((ratio, i) => ratio >= (ratios[i - 1] ?? 0) && ratio <= 1) && ratios.at(-1) === 1, ratios.join());
    assert.ok(await page.evaluate((url) => motelm.Mote.cache.has(url), url));
  });

  const parts = (stored) => stored === 8 * MIB || stored === 16 * MIB;
  const bytes = (stored) => stored > 9 * MIB && stored < 20 * MIB;
  const ways = [
    { begins: 'page', goesOn: 'page', kept: parts, from: (stored) => stored },
    { begins: 'worker', goesOn: 'worker', kept: bytes, from: (stored) => stored },
    { begins: 'page', goesOn: 'worker', kept: parts, from: (stored) => stored },
    // A page can only write whole files, and this is one.
    { begins: 'worker', goesOn: 'page', kept: bytes, from: () => 0 },
  ];
  for (const { begins, goesOn, kept, from } of ways) {
    await test(`a download that is aborted in a ${begins} goes on in a ${goesOn}`, async (context) => {
      const page = await blank(context, server.origin);
      await page.evaluate(inWorker);
      const url = `${server.origin}/big?mib=20&slow&${Math.random()}`;
      const aborted = await page.evaluate(async (url, where) => ({ ...(await add[where](url, { abortAt: 9 * 2 ** 20 })), list: await motelm.Mote.cache.list() }), url, begins);
      assert.deepEqual([aborted.code, aborted.name], ['aborted', 'AbortError']);
      const [{ stored, complete }] = aborted.list;
      assert.ok(!complete && kept(stored), `${stored} bytes are kept`);
      asked(url);
      const sha256 = numberedSha256(20 * MIB);
      const done = await page.evaluate(async (url, where, sha256) => ({ ...(await add[where](url, { sha256 })), list: await motelm.Mote.cache.list() }), url, goesOn, sha256);
      assert.equal(done.code, undefined, done.message);
      const start = from(stored);
      assert.deepEqual(done.phases, [...(start > 0 ? ['cache'] : []), 'download', 'ready']);
      assert.deepEqual(asked(url), [start > 0 ? `GET bytes=${start}-` : 'GET']);
      assert.deepEqual([done.list[0].stored, done.list[0].complete], [20 * MIB, true]);
      // All of it is read again, by either.
      for (const where of ['page', 'worker']) {
        const again = await page.evaluate((url, where, sha256) => add[where](url, { sha256 }), url, where, sha256);
        assert.deepEqual([again.code, again.phases], [undefined, ['cache', 'ready']]);
      }
      assert.deepEqual(asked(url), []);
    });
  }

  await test('two tabs that want the same file download it once', async (context) => {
    const [one, two] = [await blank(context, server.origin), await blank(context, server.origin)];
    const url = `${TALES}?slow&${Math.random()}`;
    const load = (page) => page.evaluate((url) => motelm.Mote.load(url).then((mote) => mote.info.name), url);
    assert.deepEqual(await Promise.all([load(one), load(two)]), ['tales-2M', 'tales-2M']);
    assert.deepEqual(asked(url), ['GET']);
  });

  await test('two loads of one page download a file once', async (context) => {
    const page = await blank(context, server.origin);
    const url = `${TALES}?slow&${Math.random()}`;
    const names = await page.evaluate((url) => Promise.all([1, 2].map(() => motelm.Mote.load(url).then((mote) => mote.info.name))), url);
    assert.deepEqual(names, ['tales-2M', 'tales-2M']);
    assert.deepEqual(asked(url), ['GET']);
  });

  await test('nobody waits for files that somebody else waits for, or gave up', async (context) => {
    const page = await blank(context, server.origin);
    const got = await page.evaluate(async (origin) => {
      const { Mote } = motelm;
      const parts = [1, 2].map((n) => `${origin}/split/${n}`);
      const name = (files, options) => outcome(Mote.load(files, options).then((mote) => mote.info.name));
      const both = await Promise.all([name(parts), name([...parts].reverse())]);
      // On this thread nothing dies with a load that failed.
      await Mote.cache.clear();
      const failed = await name([parts[0], `${origin}/split/3`], { worker: false });
      return { both, failed, again: await name(parts, { worker: false }), twice: await name([parts[0], parts[0]]) };
    }, server.origin);
    assert.equal(got.both[0].value, 'tales-2M');
    assert.match(got.both[1].message, /split\.no/);
    assert.equal(got.failed.code, 'network');
    assert.equal(got.again.value, 'tales-2M');
    assert.equal(got.twice.code, 'argument');
    assert.match(got.twice.message, /split\/1 is given twice/);
  });

  await test('deleting a file ends its download, in another tab and in its worker, and nothing of it is left', async (context) => {
    const [one, two] = [await blank(context, server.origin), await blank(context, server.origin)];
    const url = `${server.origin}/big?mib=40&slow&${Math.random()}`;
    const small = `${TALES}?slow&${Math.random()}`;
    const begun = (page, url, how) =>
      page.evaluate(
        (url, how) =>
          new Promise((begun) => {
            const onProgress = ({ loaded, phase }) => phase === 'download' && loaded > how.from && begun();
            const ways = { add: () => motelm.Mote.cache.add(url, { onProgress }), load: () => motelm.Mote.load(url, { onProgress }) };
            globalThis.ended = outcome(ways[how.way]());
          }),
        url,
        how,
      );
    for (const [file, how] of [[url, { way: 'add', from: 9 * MIB }], [small, { way: 'load', from: 100_000 }]]) {
      await begun(one, file, how);
      // The second waits for the first, and is not to begin anew when that ends.
      await two.evaluate((url) => void (globalThis.ended = outcome(motelm.Mote.cache.add(url))), file);
      await two.waitForFunction(async () => (await navigator.locks.query()).pending.some(({ name }) => name.startsWith('motelm file')));
      assert.equal((await two.evaluate((url) => outcome(motelm.Mote.cache.delete(url)), file)).code, undefined);
      for (const page of [one, two]) {
        const ended = await page.evaluate(() => ended);
        assert.deepEqual([ended.code, ended.name], ['aborted', 'AbortError']);
        assert.match(ended.message, /deleted while it was downloaded/);
      }
      assert.deepEqual(await two.evaluate(() => motelm.Mote.cache.list()), []);
      assert.equal((await two.evaluate(async () => Array.fromAsync((await (await navigator.storage.getDirectory()).getDirectoryHandle('motelm')).keys()))).length, 0);
    }
    asked(small);
    assert.equal(await one.evaluate((url) => motelm.Mote.load(url).then((mote) => mote.info.name), small), 'tales-2M');
    assert.deepEqual(asked(small), ['GET']);
  });

  await test('a file that somebody reads is not deleted under them', async (context) => {
    const [one, two] = [await blank(context, server.origin), await blank(context, server.origin)];
    await one.evaluate((url) => motelm.Mote.cache.add(url), TALES);
    // Reading takes a moment; whoever takes long holds the same lock.
    const hold = async (url) => {
      const hash = new Uint8Array(await crypto.subtle.digest('SHA-256', new TextEncoder().encode(url)));
      const key = Array.from(hash.subarray(0, 16), (byte) => byte.toString(16).padStart(2, '0')).join('');
      await new Promise((held) => navigator.locks.request(`motelm file ${key}`, { mode: 'shared' }, () => new Promise((release) => held((globalThis.release = release)))));
    };
    await one.evaluate(hold, TALES);
    const refused = await two.evaluate((url) => outcome(motelm.Mote.cache.delete(url)), TALES);
    assert.equal(refused.code, 'busy');
    assert.ok(await two.evaluate((url) => motelm.Mote.cache.has(url), TALES));
    // Who is done before is only waited for.
    const deleted = two.evaluate((url) => outcome(motelm.Mote.cache.delete(url)), TALES);
    await pause(300);
    await one.evaluate(() => release());
    assert.equal((await deleted).code, undefined);
    assert.deepEqual(await two.evaluate(() => motelm.Mote.cache.list()), []);
  });

  await test('a file that changed at the server is noticed when asked for', async (context) => {
    const page = await blank(context, server.origin);
    const load = (cache) => page.evaluate((url, cache) => motelm.Mote.load(url, { cache }).then((mote) => mote.unload()), TALES, cache);
    await load(true);
    asked(TALES);
    await load('revalidate');
    assert.deepEqual(asked(TALES), ['HEAD']);
    server.versions.set(new URL(TALES).pathname, 'new');
    await load(true);
    assert.deepEqual(asked(TALES), []);
    await load('revalidate');
    assert.deepEqual(asked(TALES), ['HEAD', 'GET']);
    await load('revalidate');
    assert.deepEqual(asked(TALES), ['HEAD']);
    await load('reload');
    assert.deepEqual(asked(TALES), ['GET']);
    await load(false);
    assert.deepEqual(asked(TALES), ['GET']);
    server.versions.clear();
  });

  await test('without room, a model runs all the same, and what must be kept is refused before it is downloaded', async (context) => {
    const page = await blank(context, server.origin);
    const huge = `${server.origin}/big?mib=${2 ** 24}`;
    const refused = await page.evaluate((url) => outcome(motelm.Mote.cache.add(url)), huge);
    assert.equal(refused.code, 'quota');
    assert.match(refused.message, /storage has \d+ left/);
    const got = await page.evaluate(async (url) => {
      // A disk that is full although the browser thought that there is room.
      const full = () => Promise.reject(new DOMException('full', 'QuotaExceededError'));
      FileSystemFileHandle.prototype.createWritable = full;
      const mote = await motelm.Mote.load(url, { worker: false });
      return { name: mote.info.name, list: await motelm.Mote.cache.list(), required: await outcome(motelm.Mote.load(url, { worker: false, cache: 'required' })) };
    }, TALES);
    assert.deepEqual([got.name, got.list, got.required.code], ['tales-2M', [], 'quota']);
  });

  await test('storage that never answers does not hold up a model, and what must be kept is an error', async (context) => {
    const page = await blank(context, server.origin);
    const got = await page.evaluate(async (url) => {
      FileSystemFileHandle.prototype.createWritable = () => new Promise(() => {});
      const other = outcome(motelm.Mote.load(`${url}?must`, { worker: false, cache: 'required' }));
      const mote = await motelm.Mote.load(url, { worker: false });
      return { name: mote.info.name, required: await other };
    }, TALES);
    assert.equal(got.name, 'tales-2M');
    assert.equal(got.required.code, 'environment');
    assert.match(got.required.message, /storage has not answered for 10 seconds/);
  });

  await test('the Cache API keeps files where there is no private file system', async (context) => {
    const page = await blank(context, server.origin);
    const got = await page.evaluate(async (url) => {
      StorageManager.prototype.getDirectory = () => Promise.reject(new Error('none'));
      await motelm.Mote.cache.add(url);
      const phases = new Set();
      const mote = await motelm.Mote.load(url, { worker: false, onProgress: ({ phase }) => phases.add(phase) });
      const text = await mote.generate('Once upon a time', story).text();
      const list = await motelm.Mote.cache.list();
      await motelm.Mote.cache.clear();
      return { phases: [...phases], text, stored: list.map(({ stored }) => stored), left: await motelm.Mote.cache.list(), caches: await caches.keys() };
    }, TALES);
    assert.deepEqual(got.phases, ['cache', 'ready']);
    assert.ok(got.text.length > 20);
    assert.deepEqual([got.stored, got.left, got.caches], [[2037536], [], ['motelm']]);
  });
});

const killed = [
  { where: 'page', kept: (stored) => stored > 0 && stored % (8 * MIB) === 0 },
  { where: 'worker', kept: (stored) => stored > 9 * MIB },
];
for (const [name, { where, kept }] of names.flatMap((name) => killed.map((how) => [name, how]))) {
  test(`${name}: a download in a ${where} survives the browser being killed`, () =>
    withProfile(async (profile) => {
      const url = `${server.origin}/big?mib=24&still=${12 * MIB}&${name}${where}`;
      const first = await launch(name, { profile });
      const page = await blank(first.defaultBrowserContext(), server.origin);
      await page.exposeFunction('report', (loaded) => loaded > 10 * MIB && first.process().kill('SIGKILL'));
      await page.evaluate(inWorker);
      await page.evaluate((url, where) => void add[where](url, { report: true }), url, where);
      await new Promise((ended) => first.process().once('exit', ended));
      await pause(500);
      asked(url);
      const second = await launch(name, { profile });
      try {
        const again = await blank(second.defaultBrowserContext(), server.origin);
        await again.evaluate(inWorker);
        const sha256 = numberedSha256(24 * MIB);
        const done = await again.evaluate((url, where, sha256) => add[where](url, { sha256 }), url, where, sha256);
        assert.equal(done.code, undefined, done.message);
        const requests = asked(url).join();
        const stored = Number(/^GET bytes=(\d+)-$/.exec(requests)?.[1]);
        assert.ok(kept(stored), `asked for: ${requests}`);
        const list = await again.evaluate(() => motelm.Mote.cache.list());
        assert.deepEqual(list.map(({ stored, complete }) => [stored, complete]), [[24 * MIB, true]]);
      } finally {
        await second.close();
      }
    }));
}
