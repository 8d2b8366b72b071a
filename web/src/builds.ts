/**
 * Which build of the engine runs here, and its compiled module.
 *
 * By default a module comes out of a JavaScript file, deflated and in base64, which is imported when it is needed: every
 * bundler carries JavaScript along, and so compressed it crosses the network in no more bytes than the `.wasm` itself.
 */
import { MoteError } from './error.js';
import type { Build, EngineOptions } from './types.js';

const EMBEDDED: Record<Build, () => Promise<{ default: string }>> = {
  simd128: () => import('./wasm/simd128.wasm.js'),
  relaxed: () => import('./wasm/relaxed.wasm.js'),
};

/** A module, and which it is. */
export interface Compiled {
  build: Build;
  module: WebAssembly.Module;
}

const compiled = new Map<string, Promise<WebAssembly.Module>>();

/** Chooses a build, and compiles it once for all models of this page. */
export async function compile(options: EngineOptions): Promise<Compiled> {
  const build = choose(options);
  const key = `${build} ${options.wasmUrl ?? ''}`;
  let module = compiled.get(key);
  if (!module) {
    module = options.wasmUrl === undefined ? embedded(build) : fetched(new URL(options.wasmUrl, base()), build);
    compiled.set(key, module);
    module.catch(() => compiled.delete(key));
  }
  return { build, module: await module };
}

/** The fastest build for this browser. */
function choose({ build }: EngineOptions): Build {
  if (!runs(SIMD)) throw new MoteError('environment', 'this browser has no 128-bit WebAssembly vectors (simd128)');
  return build ?? (runs(RELAXED) ? 'relaxed' : 'simd128');
}

async function embedded(build: Build): Promise<WebAssembly.Module> {
  const { default: base64 } = await EMBEDDED[build]();
  const text = atob(base64);
  const deflated = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) deflated[i] = text.charCodeAt(i);
  const bytes = new Blob([deflated]).stream().pipeThrough(new DecompressionStream('deflate'));
  return WebAssembly.compile(await new Response(bytes).arrayBuffer());
}

async function fetched(url: URL, build: Build): Promise<WebAssembly.Module> {
  if (url.pathname.endsWith('/')) url = new URL(`${build}.wasm`, url);
  const response = await fetch(url).catch((cause: unknown) => {
    throw new MoteError('network', `${url} could not be fetched`, cause);
  });
  if (!response.ok) throw new MoteError('network', `${url}: ${response.status} ${response.statusText}`);
  const streams = response.headers.get('content-type')?.startsWith('application/wasm');
  return streams ? WebAssembly.compileStreaming(response) : WebAssembly.compile(await response.arrayBuffer());
}

/** What relative addresses are relative to. */
export function base(): string | undefined {
  return globalThis.document?.baseURI ?? globalThis.location?.href;
}

function runs(code: number[]): boolean {
  const preamble = [0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, code.length + 4, 1, code.length + 2, 0];
  return WebAssembly.validate(Uint8Array.from([...preamble, ...code, 11]));
}

/** `i32.const 0; i8x16.splat` */
const SIMD = [65, 0, 253, 15];
/** The same twice, and `i8x16.relaxed_swizzle`. */
const RELAXED = [65, 0, 253, 15, 65, 0, 253, 15, 253, 128, 2];
