// Builds dist/ from src/ and from the modules in wasm/: the worker as one script, the package, the embedded modules.
import { build } from 'esbuild';
import { readFileSync, readdirSync } from 'node:fs';
import { copyFile, mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { brotliCompressSync, deflateSync, gzipSync } from 'node:zlib';

// Builds of the engine with 32-bit addresses; the bindings of the last serve all, and are bundled with the worker. So are those of the one
// with 64-bit addresses, which take other numbers.
const BUILDS = ['simd128', 'relaxed', 'threads'];
const WIDE = 'relaxed64';
/** Every module, with its bindings, and how many bytes it may have, with room for other compilers: they grow by accident. README.md has
 * today's sizes. */
const MODULES = [...BUILDS.map((name) => [name, 'motelm_wasm', 860_000]), [WIDE, 'motelm_wasm', 900_000], ['chat', 'motelm_wasm_chat', 780_000]];
const here = (path) => new URL(path, import.meta.url).pathname;

await rm(here('dist'), { recursive: true, force: true });
await mkdir(here('dist/wasm'), { recursive: true });
// npm packs nothing from outside of the folder.
for (const licence of ['LICENSE-MIT', 'LICENSE-APACHE']) await copyFile(here(`../${licence}`), here(licence));

const common = {
  bundle: true,
  minify: true,
  target: 'es2022',
  logLevel: 'warning',
  // The bindings would look for their module here; it is always handed to them.
  define: { 'import.meta.url': '""' },
};

// A classic script, so that Node can evaluate it and a page's policy need not know modules.
await build({ ...common, entryPoints: [here('src/worker.ts')], outfile: here('dist/worker.js'), format: 'iife' });

const workerText = {
  name: 'worker as text',
  setup({ onResolve, onLoad }) {
    onResolve({ filter: /\.wasm\.js$/ }, ({ path }) => ({ path, external: true }));
    onResolve({ filter: /worker\.js\?text$/ }, () => ({ path: here('dist/worker.js'), namespace: 'text' }));
    onLoad({ filter: /.*/, namespace: 'text' }, async ({ path }) => ({ contents: await readFile(path, 'utf8'), loader: 'text' }));
  },
};
await build({
  ...common,
  entryPoints: [here('src/index.ts'), here('src/inline.ts')],
  outdir: here('dist'),
  format: 'esm',
  splitting: true,
  chunkNames: 'chunk-[hash]',
  plugins: [workerText],
});

// They differ only in how they reach the memory: what works for a shared one works for any.
const calls = async (name) => [...new Set((await readFile(here(`wasm/${name}/motelm_wasm.js`), 'utf8')).match(/\b(wasm\.|__wbg_|__wbindgen_)\w+/g))].sort().join();
const shared = await calls(BUILDS.at(-1));
for (const name of BUILDS) {
  if ((await calls(name)) !== shared) throw new Error(`the bindings of ${name} call something else than those of ${BUILDS.at(-1)}`);
}
for (const [name, bindings, limit] of MODULES) {
  const wasm = await readFile(here(`wasm/${name}/${bindings}_bg.wasm`));
  if (wasm.length > limit) throw new Error(`${name}.wasm has ${wasm.length} bytes, more than ${limit}`);
  await writeFile(here(`dist/wasm/${name}.wasm`), wasm);
  const base64 = deflateSync(wasm, { level: 9 }).toString('base64');
  await writeFile(here(`dist/wasm/${name}.wasm.js`), `export default "${base64}";\n`);
}

// What a page has to fetch: the sizes in README.md.
const sizes = (paths) => {
  const files = paths.map((path) => readFileSync(here(`dist/${path}`)));
  const sum = (measure) => Math.round(files.reduce((sum, file) => sum + measure(file), 0) / 1000);
  console.log(`${paths.join(' + ')}: ${sum((file) => file.length)} KB, ${sum((file) => gzipSync(file).length)} KB gzip, ${sum((file) => brotliCompressSync(file).length)} KB brotli`);
};
const chunks = readdirSync(here('dist')).filter((name) => name.startsWith('chunk-'));
sizes(['index.js', ...chunks]);
for (const [name] of MODULES) [`wasm/${name}.wasm`, `wasm/${name}.wasm.js`].forEach((path) => sizes([path]));
