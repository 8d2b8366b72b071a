// MoteLM beside another engine in Chromium: same file, same prompt, in turns. Prints medians and medians of ratios.
//
//   node run.mjs [--shapes FOLDER] [--models a.gguf,b.gguf] [--builds relaxed,simd128,threads] [--threads 1,2]
//                [--peer wllama|wllama-3|transformers] [--alone] [--pp 256] [--tg 64] [--rounds 5] [--json FILE]
//
// A build `relaxed+relaxed` is two engines at once, each on its own: what the machine has for two threads.
import { mkdtempSync, readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { launch, median, serve } from './browser.mjs';

const { values: args } = parseArgs({
  options: {
    shapes: { type: 'string', default: '/tmp/shapes' },
    models: { type: 'string', default: 'smollm2-135m-q8_0.gguf,smollm2-135m-q4_0.gguf,smollm2-135m-q4_k_m.gguf' },
    builds: { type: 'string', default: 'relaxed' },
    threads: { type: 'string', default: '1' },
    peer: { type: 'string', default: 'wllama' },
    pp: { type: 'string', default: '256' },
    tg: { type: 'string', default: '64' },
    rounds: { type: 'string', default: '5' },
    alone: { type: 'boolean', default: false },
    json: { type: 'string' },
  },
});
const [pp, tg, rounds] = [args.pp, args.tg, args.rounds].map(Number);
const server = await serve(args.shapes);
const profile = mkdtempSync(join(tmpdir(), 'motelm-bench-'));
const browser = await launch(profile);

/** Tokens a second, by the clock and by the processor time that the browser took. */
const per = (tokens, { wall, cpu }) => ({ wall: (1000 * tokens) / wall, cpu: (1000 * tokens) / Math.max(cpu, 1) });

async function timed(what) {
  const before = cpu();
  const wall = await what();
  return { wall, cpu: cpu() - before };
}

/** Milliseconds that the processes with the page have run. Other programs do not count, which makes it the clock to
 * compare by on a machine that is not quiet. */
function cpu() {
  let ticks = 0;
  for (const pid of readdirSync('/proc').filter((name) => /^\d+$/.test(name))) {
    try {
      const line = readFileSync(`/proc/${pid}/cmdline`, 'utf8');
      if (!line.includes('--type=renderer') || !line.includes(profile)) continue;
      const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
      const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
      ticks += Number(fields[11]) + Number(fields[12]);
    } catch {
      // It has just ended.
    }
  }
  return ticks * 10;
}
const rows = [];
try {
  for (const model of args.models.split(',')) {
    for (const threads of args.threads.split(',').map(Number)) {
      const page = await browser.newPage();
      page.on('console', (message) => message.type() === 'error' && console.log(`  page: ${message.text()}`));
      page.on('pageerror', (error) => console.log(`  page: ${error}`));
      await page.goto(`${server.origin}/web/bench/page.html`);
      await page.waitForFunction(() => window.bench);
      const call = (what, ...rest) => page.evaluate(([what, rest]) => window.bench[what](...rest), [what, rest]);
      const names = args.builds.split(',');
      for (const build of names) await call('load', build, `/shapes/${model}`, { build, threads, context: 512 });
      if (!args.alone) await call('load', args.peer, `/shapes/${model}`, { threads, context: 512 });
      const engines = args.alone ? names : [...names, args.peer];
      const times = Object.fromEntries(engines.map((name) => [name, []]));
      for (let round = 0; round <= rounds; round++) {
        for (const name of engines) {
          const prefill = await timed(() => call('prefill', name, pp));
          const decode = await timed(() => call('decode', name, tg));
          const n = name.split('+').length;
          // The first round compiles.
          if (round > 0) times[name].push({ prefill: per(n * pp, prefill), decode: per(n * tg, decode) });
        }
      }
      for (const name of engines) {
        const row = { model, threads, engine: name };
        for (const part of ['prefill', 'decode']) {
          for (const clock of ['wall', 'cpu']) {
            row[`${part} ${clock}`] = +median(times[name].map((time) => time[part][clock])).toFixed(1);
            if (args.alone || name === args.peer) continue;
            const ratios = times[name].map((time, i) => time[part][clock] / times[args.peer][i][part][clock]);
            row[`${part} ${clock} ratio`] = +median(ratios).toFixed(2);
          }
        }
        rows.push(row);
        console.log(JSON.stringify(row));
      }
      await page.close();
    }
  }
} finally {
  await browser.close();
  server.close();
}
if (args.json) writeFileSync(args.json, JSON.stringify(rows, null, 1));
