import { mkdtempSync, rmSync, readFileSync, readdirSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { launch, serve } from './browser.mjs';
const N = +process.argv[2] || 100, model = process.argv[3] ?? 'smollm2-135m-q8_0.gguf';
const server = await serve('/tmp/shapes');
const pre = () => {
  const B = Blob;
  const code = `(() => { const log = self.__log = []; const now = () => Math.round(performance.now()*10)/10;
    const wrap = (o, n, cls) => { const f = o[n]; o[n] = function (...a) { const e = [cls + n, now(), null]; if (a[1]?.at !== undefined) e.push(a[1].at); log.push(e); if (log.length > 40000) log.splice(0, 2000);
      let r; try { r = f.apply(this, a); } catch (x) { e[2] = 'throw ' + x; throw x; }
      if (r instanceof Promise) { r.then(() => { e[2] = now(); }, (x) => { e[2] = 'reject ' + x; }); } else e[2] = now();
      return r; }; };
    for (const n of ['createSyncAccessHandle', 'getFile', 'createWritable']) wrap(FileSystemFileHandle.prototype, n, 'F.');
    for (const n of ['getDirectoryHandle', 'getFileHandle', 'removeEntry']) wrap(FileSystemDirectoryHandle.prototype, n, 'D.');
    for (const n of ['write', 'close', 'truncate', 'read', 'getSize']) wrap(FileSystemSyncAccessHandle.prototype, n, 'S.');
    wrap(ReadableStreamBYOBReader.prototype, 'read', 'R.'); wrap(ReadableStreamDefaultReader.prototype, 'read', 'R.');
    wrap(FileSystemWritableFileStream.prototype, 'write', 'W.'); wrap(FileSystemWritableFileStream.prototype, 'close', 'W.');
    wrap(StorageManager.prototype, 'estimate', 'E.'); wrap(LockManager.prototype, 'request', 'L.'); wrap(self, 'fetch', 'N.');
  })();\n`;
  window.Blob = class extends B { constructor(parts, o) { if (o?.type === 'text/javascript') parts = [code, ...parts]; super(parts, o); } };
};
const engine = async ({ url }) => {
  const { Mote } = await import('/web/dist/index.js');
  const mote = await Mote.load(url, { threads: 1, context: 512 });
  const loaded = performance.now();
  for await (const _ of mote.generate('Once upon a time there was a king who had a daughter.', { maxTokens: 1, temperature: 0 }));
  return { loaded, first: performance.now() };
};
const wait = (ms) => new Promise((r) => setTimeout(r, ms));
const times = [];
for (let i = 0; i < N; i++) {
  const profile = mkdtempSync(join(tmpdir(), 'motelm-stall-'));
  const browser = await launch(profile);
  const page = await browser.newPage();
  if (!process.env.PLAIN) await page.addInitScript(pre);
  await wait(+(process.env.REST ?? 0));
  await page.goto(`${server.origin}/web/bench/blank.html`);
  const run = page.evaluate(engine, { url: `${server.origin}/shapes/${model}` }).catch((e) => ({ error: String(e) }));
  let r = await Promise.race([run, wait(8000).then(() => 'late')]);
  if (r === 'late') {
    console.log('STALL at visit', i, new Date().toISOString());
    for (const w of page.workers()) {
      const alive = await Promise.race([w.evaluate(() => ({ now: performance.now(), log: self.__log?.slice(-14), open: self.__log?.filter((e) => e[2] === null) })), wait(3000).then(() => 'worker does not answer')]);
      console.log(JSON.stringify(alive));
    }
    for (const pid of readdirSync('/proc').filter((n) => /^\d+$/.test(n))) {
      try {
        const c = readFileSync(`/proc/${pid}/cmdline`, 'utf8');
        if (!c.includes(profile)) continue;
        console.log(pid, c.match(/--type=\S*?\0/)?.[0], c.match(/--utility-sub-type=[^\0]*/)?.[0]);
        for (const t of readdirSync(`/proc/${pid}/task`)) console.log('   ', t, readFileSync(`/proc/${pid}/task/${t}/comm`, 'utf8').trim(), readFileSync(`/proc/${pid}/task/${t}/wchan`, 'utf8'), readFileSync(`/proc/${pid}/task/${t}/syscall`, 'utf8').trim().slice(0, 60), readFileSync(`/proc/${pid}/task/${t}/stat`, 'utf8').split(' ')[2]);
      } catch {}
    }
    r = await Promise.race([run, wait(15000).then(() => 'still late')]);
    console.log('then', JSON.stringify(r));
    for (const w of page.workers()) console.log(JSON.stringify(await Promise.race([w.evaluate(() => ({ now: performance.now(), log: self.__log?.slice(-6) })), wait(3000).then(() => 'worker does not answer')])));
    if (process.env.HOLD) await wait(600000);
  }
  if (process.env.VERBOSE) for (const w of page.workers()) {
    const { log, origin } = await w.evaluate(() => ({ log: self.__log, origin: performance.timeOrigin }));
    const po = await page.evaluate(() => ({ origin: performance.timeOrigin, res: performance.getEntriesByType('resource').map((e) => [e.name.split('/').pop(), Math.round(e.startTime), Math.round(e.responseStart), Math.round(e.responseEnd)]) }));
    const off = origin - po.origin; const sum = {};
    for (const [n, a, b] of log) { const s = (sum[n] ??= { n: 0, ms: 0, first: Math.round(a + off), max: 0 }); s.n++; const d = (typeof b === 'number' ? b : a) - a; s.ms = Math.round((s.ms + d) * 10) / 10; s.max = Math.max(s.max, Math.round(d)); s.last = Math.round((typeof b === 'number' ? b : a) + off); }
    console.log('worker began', Math.round(off), 'loaded', Math.round(r.loaded), 'first', Math.round(r.first)); console.log(JSON.stringify(po.res)); for (const k in sum) console.log('  ', k, JSON.stringify(sum[k]));
    const reads = log.filter((e) => e[0] === 'R.read'); console.log('   first reads', JSON.stringify(reads.slice(0, 6).map((e) => [Math.round(e[1] + off), Math.round(e[2] + off)])));
  }
  times.push(r.first ?? -1);
  if (r.error) console.log(i, r.error);
  await Promise.race([browser.close(), wait(5000)]);
  rmSync(profile, { recursive: true, force: true, maxRetries: 5, retryDelay: 200 });
}
console.log('visits', N, 'median', times.sort((a, b) => a - b)[N >> 1], times.slice(-5));
process.exit(0);
