// Starts the browsers and runs a test in each. `CHROMIUM` and `FIREFOX` name other executables; `BROWSERS=chrome` or
// `BROWSERS=firefox` runs only one.
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'node:test';
import puppeteer from 'puppeteer-core';

const OPTIONS = {
  chrome: {
    executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
    args: [
      '--no-sandbox',
      '--disable-gpu',
      '--disable-dev-shm-usage',
      '--disable-quic',
      '--no-first-run',
      '--no-default-browser-check',
      '--disable-background-networking',
      '--disable-component-update',
      '--disable-sync',
    ],
  },
  firefox: { executablePath: process.env.FIREFOX ?? '/usr/bin/firefox-esr', args: [] },
};

export const names = process.env.BROWSERS?.split(',') ?? ['chrome', 'firefox'];

/** Starts a browser, with a profile that is gone afterwards or the one in `profile`. */
export function launch(browser, { profile, ...more } = {}) {
  return puppeteer.launch({ browser, headless: true, ...OPTIONS[browser], ...(profile && { userDataDir: profile }), ...more });
}

/** Runs `work` with a folder for a profile. */
export async function withProfile(work) {
  const profile = await mkdtemp(join(tmpdir(), 'motelm-profile-'));
  try {
    return await work(profile);
  } finally {
    await rm(profile, { recursive: true, force: true, maxRetries: 5, retryDelay: 200 });
  }
}

/** A test in every browser, which is started once for all tests of a file. */
export function inBrowsers(tests) {
  for (const name of names) {
    test(name, async (t) => {
      const browser = await launch(name);
      try {
        await tests(async (title, work) => {
          await t.test(title, async () => {
            // A context of its own: nothing is stored from one test to the next.
            const context = await browser.createBrowserContext();
            try {
              await work(context, name);
            } finally {
              await context.close();
            }
          });
        }, name);
      } finally {
        await browser.close();
      }
    });
  }
}

/** An empty page that has the package as `motelm`. Its own errors are printed. */
export async function blank(context, origin, mode = 'plain') {
  const page = await context.newPage();
  page.on('pageerror', (error) => console.log(`  page: ${error}`));
  await page.goto(`${origin}/${mode}/blank`);
  await page.evaluate(async () => {
    globalThis.motelm = await import('../web/dist/index.js');
    // What a test asks of a promise that may fail.
    globalThis.outcome = (promise) => promise.then((value) => ({ value }), ({ code, name, message }) => ({ code, name, message }));
    // Whether it has relaxed vectors: `i32.const 0; i8x16.splat` twice, and `i8x16.relaxed_swizzle`.
    const code = [65, 0, 253, 15, 65, 0, 253, 15, 253, 128, 2];
    globalThis.relaxed = WebAssembly.validate(Uint8Array.from([0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, 15, 1, 13, 0, ...code, 11]));
    // Whether it has 64-bit addresses beside: `(memory i64 1)`.
    globalThis.wide = relaxed && WebAssembly.validate(Uint8Array.from([0, 97, 115, 109, 1, 0, 0, 0, 5, 3, 1, 4, 1]));
    // Settles in the middle of what was asked of `mote` before: mail is read between two slices.
    globalThis.begun = (mote) => mote.tokenize('');
    globalThis.timed = async (work) => {
      const before = performance.now();
      await work();
      return performance.now() - before;
    };
    globalThis.story = { temperature: 0.6, topK: 40, seed: 42, maxTokens: 30 };
  });
  return page;
}
