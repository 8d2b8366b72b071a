/**
 * Which build of the engine runs here, and its compiled module; beside it, the module of chat templates.
 *
 * By default a module comes out of a JavaScript file, deflated and in base64, which is imported when it is needed: every
 * bundler carries JavaScript along, and so compressed it crosses the network in no more bytes than the `.wasm` itself.
 */
import { MoteError } from './error.js';
import type { Build, EngineOptions } from './types.js';

/** Chat templates have a module of their own, which is the same for all builds. */
type Module = Build | 'chat';

const EMBEDDED: Record<Module, () => Promise<{ default: string }>> = {
  chat: () => import('./wasm/chat.wasm.js'),
  simd128: () => import('./wasm/simd128.wasm.js'),
  relaxed: () => import('./wasm/relaxed.wasm.js'),
  relaxed64: () => import('./wasm/relaxed64.wasm.js'),
  threads: () => import('./wasm/threads.wasm.js'),
};

/** A build, and how many threads are to work in it. */
export interface Choice {
  build: Build;
  threads: number;
}

/** With its module. */
export interface Compiled extends Choice {
  module: WebAssembly.Module;
}

const compiled = new Map<string, Promise<WebAssembly.Module>>();

/** Compiles a build, once for all models of this page. */
export async function compile({ build, threads }: Choice, { wasmUrl }: EngineOptions): Promise<Compiled> {
  return { build, threads, module: await compileOnce(build, wasmUrl === undefined ? undefined : fileOf(build, new URL(wasmUrl, base()))) };
}

/** Compiles what renders chat templates, once for all models of this page. Its file lies beside the engine's. */
export function compileTemplates({ wasmUrl }: EngineOptions): Promise<WebAssembly.Module> {
  return compileOnce('chat', wasmUrl === undefined ? undefined : new URL('chat.wasm', new URL(wasmUrl, base())));
}

function compileOnce(name: Module, url: URL | undefined): Promise<WebAssembly.Module> {
  const key = url?.href ?? name;
  let module = compiled.get(key);
  if (!module) {
    module = url ? fetched(url) : embedded(name);
    compiled.set(key, module);
    module.catch(() => compiled.delete(key));
  }
  return module;
}

/** The fastest build for this browser, in a worker or not. */
export function choose({ build, threads, wasmUrl }: EngineOptions, worker: boolean): Choice {
  if (threads !== undefined && !(Number.isInteger(threads) && threads > 0)) throw new MoteError('argument', `\`threads\` is ${threads}; expected a whole number above 0`);
  if (!runs(SIMD)) throw new MoteError('environment', 'this browser has no 128-bit WebAssembly vectors (simd128)');
  const relaxed = runs(RELAXED);
  // Threads wait for each other, which a page's own thread may not.
  const may = worker && relaxed && typeof SharedArrayBuffer === 'function' && globalThis.crossOriginIsolated !== false;
  if (build === 'relaxed64' && !has64(worker)) throw new MoteError('environment', '64-bit addresses need a worker, relaxed SIMD and memory64');
  if (build === 'threads' && !may) throw new MoteError('environment', 'threads need a cross-origin isolated page, a worker and relaxed SIMD');
  const most = may ? Math.min(threads ?? usualThreads(), cores()) : 1;
  // A single file is for one thread, unless it is said to be the other one.
  const several = most > 1 && (wasmUrl === undefined || folder(new URL(wasmUrl, base())));
  build ??= several ? 'threads' : relaxed ? 'relaxed' : 'simd128';
  return { build, threads: build === 'threads' ? most : 1 };
}

/** Whether `relaxed64` may be used for what the build that is chosen is too small for. */
export function mayWiden({ build, wasmUrl }: EngineOptions, worker: boolean): boolean {
  return build === undefined && (wasmUrl === undefined || folder(new URL(wasmUrl, base()))) && has64(worker);
}

/** A page's own thread has the bindings of 32-bit modules. */
function has64(worker: boolean): boolean {
  return worker && runs(RELAXED) && WebAssembly.validate(MEMORY64);
}

/**
 * Half of what counts as a core, since a core that does two things at once counts twice. Deno's process would not end: its
 * workers cannot be terminated while they sleep for want of work.
 */
function usualThreads(): number {
  if ('Deno' in globalThis) return 1;
  return Math.min(8, Math.max(2, Math.floor(cores() / 2)));
}

/** Node 20 has no `navigator`. */
function cores(): number {
  return globalThis.navigator?.hardwareConcurrency ?? globalThis.process?.getBuiltinModule?.('node:os').availableParallelism() ?? 1;
}

async function embedded(name: Module): Promise<WebAssembly.Module> {
  const { default: base64 } = await EMBEDDED[name]().catch((cause: unknown) => {
    throw new MoteError('network', `the module \`${name}\` could not be fetched`, cause);
  });
  const bytes = new Blob([decoded(base64)]).stream().pipeThrough(new DecompressionStream('deflate'));
  return WebAssembly.compile(await new Response(bytes).arrayBuffer());
}

/** Browsers of today do it themselves, in a tenth of the time. */
function decoded(base64: string): Uint8Array<ArrayBuffer> {
  const bytes: { fromBase64?(text: string): Uint8Array<ArrayBuffer> } & typeof Uint8Array = Uint8Array;
  return bytes.fromBase64?.(base64) ?? Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
}

async function fetched(url: URL): Promise<WebAssembly.Module> {
  const response = await fetch(url).catch((cause: unknown) => {
    throw new MoteError('network', `${url} could not be fetched`, cause);
  });
  if (!response.ok) throw new MoteError('network', `${url}: ${response.status} ${response.statusText}`);
  const streams = response.headers.get('content-type')?.startsWith('application/wasm');
  return streams ? WebAssembly.compileStreaming(response) : WebAssembly.compile(await response.arrayBuffer());
}

/** A build's file, at the address of a folder or of that file. */
function fileOf(build: Build, url: URL): URL {
  return folder(url) ? new URL(`${build}.wasm`, url) : url;
}

function folder(url: URL): boolean {
  return url.pathname.endsWith('/');
}

/** What relative addresses are relative to. */
export function base(): string | undefined {
  return globalThis.document?.baseURI ?? globalThis.location?.href;
}

function runs(code: number[]): boolean {
  const preamble = [...MODULE, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, code.length + 4, 1, code.length + 2, 0];
  return WebAssembly.validate(Uint8Array.from([...preamble, ...code, 11]));
}

/** Magic number and version. */
const MODULE = [0, 97, 115, 109, 1, 0, 0, 0];
/** A module with `(memory i64 1)`. */
const MEMORY64 = Uint8Array.from([...MODULE, 5, 3, 1, 4, 1]);
/** `i32.const 0; i8x16.splat` */
const SIMD = [65, 0, 253, 15];
/** The same twice, and `i8x16.relaxed_swizzle`. */
const RELAXED = [65, 0, 253, 15, 65, 0, 253, 15, 253, 128, 2];
