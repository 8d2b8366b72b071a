/**
 * The engine as the service sees it. This file alone knows the bindings, and what their errors are called.
 */
import { Head as Head64, Loader as Bytes64, initSync as initSync64 } from '../wasm/relaxed64/motelm_wasm.js';
import { Did, type Embedder, Head, Loader as Bytes, type Model as Weights, type Session, initSync, setThreads, work } from '../wasm/threads/motelm_wasm.js';
import type { Compiled } from './builds.js';
import { MoteError } from './error.js';
import type { Embedding, Generating, Prompt } from './protocol.js';
import type { Templates } from './templates.js';
import type { Info, Inspection, Memory, StopReason, TextTokens } from './types.js';

/** What a step brought. */
export type Step =
  | { kind: 'working' }
  | { kind: 'token'; text: string }
  | { kind: 'done'; text: string; stopReason: StopReason };

/** What a thread needs to work for an engine. */
export interface Shared {
  module: WebAssembly.Module;
  memory: WebAssembly.Memory;
}

/** The way into the bindings; the rest of them is reached from here. Those of the build with threads serve all modules of 32-bit addresses. */
type Bindings = { Head: typeof Head; Bytes: typeof Bytes; initSync: typeof initSync };
const BINDINGS: Bindings = { Head, Bytes, initSync };
/** They are called alike, but take addresses for other numbers. */
const BINDINGS64 = { Head: Head64, Bytes: Bytes64, initSync: initSync64 } as unknown as Bindings;
/** Those of the engine that runs here: in a worker there is only one, on a page's own thread all have 32-bit addresses. */
let bindings = BINDINGS;
/** Its memory. */
let memory: WebAssembly.Memory;

/** A module with its memory. */
export class Engine {
  private constructor(readonly shared: Shared) {}

  static start({ build, module, threads }: Compiled): Engine {
    if (build === 'relaxed64') bindings = BINDINGS64;
    // The build with threads makes its memory here. The others have their own.
    const own = build === 'threads' ? {} : { memory: new WebAssembly.Memory({ initial: 0 }) };
    memory = bindings.initSync({ module, ...own }).memory;
    if (build === 'threads') setThreads(threads);
    return new Engine({ module, memory });
  }

  /** Works for an engine in another worker, as one of its threads. Does not return. */
  static help({ module, memory }: Shared, came: () => void): void {
    initSync({ module, memory, thread_stack_size: STACK });
    came();
    work();
  }

  /** Bytes that the module holds. */
  get bytes(): number {
    return this.shared.memory.buffer.byteLength;
  }
}

/** What the beginning of a model says. */
export class Header {
  constructor(private readonly head: Head) {}

  /** The largest file that there can be. */
  static get largest(): number {
    return bindings === BINDINGS64 ? Number.MAX_SAFE_INTEGER : 2 ** 32 - 1;
  }

  /** Whether `start` holds the whole header of a file of `size` bytes. */
  static complete(start: Uint8Array, size: number): boolean {
    return bindings.Head.splitCount(start, size) !== undefined;
  }

  /** Reads the beginnings of a model's files. */
  static read(starts: Uint8Array[], sizes: number[]): Header {
    return new Header(bindings.Head.read(starts, Float64Array.from(sizes))!);
  }

  get info(): Info {
    return facts(this.head.info() as Facts);
  }

  /** What a session of `context` tokens takes with the model. Fails with `memory` when no module could hold it. */
  memory(context: number | undefined): Memory {
    const { weights, kv, buffers, total } = this.head.plan({ context }) as Sizes;
    return { weights, tables: total - weights - kv - buffers, session: kv + buffers, total };
  }

  inspect(): Inspection {
    const metadata = Object.fromEntries(this.head.metadata());
    return { info: this.info, metadata, tensors: this.head.tensors() };
  }

  free(): void {
    this.head.free();
  }
}

/** A model that is arriving: each tensor goes straight to where it stays. */
export class Loader {
  private readonly bytes: Bytes;
  private told = false;

  /** For files of these sizes, whose bytes follow each other. */
  constructor(sizes: number[]) {
    this.bytes = new bindings.Bytes(Float64Array.from(sizes));
  }

  /** Where the next bytes will stay, at most `most` of them. What reads them to this place spares a copy, and hands it
   * over before anything else happens here. No file is read to a memory that is shared. */
  room(most: number): Uint8Array | undefined {
    if (!(memory.buffer instanceof ArrayBuffer)) return undefined;
    const { address, length } = this.bytes.room(most) as { address: number; length: number };
    return new Uint8Array(memory.buffer, address, length);
  }

  push(bytes: Uint8Array): void {
    if (bytes.buffer === memory.buffer) this.bytes.filled(bytes.length);
    else this.bytes.push(bytes);
  }

  /** What the beginning of a single file says, once, when it is there. */
  header(): Header | undefined {
    if (this.told) return undefined;
    const head = this.bytes.head();
    this.told = head !== undefined;
    return head && new Header(head);
  }

  /** The model, with room for `context` tokens. The loader is gone afterwards. */
  finish(context: number | undefined): Model {
    const weights = this.bytes.finish();
    try {
      return new Model(weights, context);
    } catch (error) {
      weights.free();
      throw error;
    }
  }

  free(): void {
    this.bytes.free();
  }
}

/** A model, with the text that it works on, or with what it makes vectors with. */
export class Model {
  readonly info: Info;
  private readonly session: Session | undefined;
  private embedder: { made: Embedder; options: string } | undefined;

  /** `context` tokens are the most that a text may have. */
  constructor(
    private readonly weights: Weights,
    private readonly context: number | undefined,
  ) {
    const info = facts(weights.info() as Facts);
    if (info.embedding) {
      const { maxTokens, tasks } = this.embedding({});
      this.info = { ...info, context: maxTokens, tasks };
    } else {
      this.session = weights.session({ context });
      this.info = { ...info, context: this.session.context };
    }
  }

  /** Whether there are tokens of a prompt only with what renders chat templates. */
  templated(prompt: Prompt): boolean {
    return 'messages' in prompt && (prompt.template !== undefined || this.info.chat);
  }

  /** The tokens of a prompt, with the ones that the model wants around it. */
  tokens(prompt: Prompt, templates: Templates | undefined): Uint32Array {
    if ('text' in prompt) return this.tokenize(prompt.text);
    const { weights } = this;
    const template = prompt.template ?? weights.chatTemplate();
    const [bos, eos] = weights.ends() as [string, string];
    const source = { template, bos, eos, guard: (text: string) => weights.guard(text) };
    return weights.chatTokens(templates!.render(prompt.messages, prompt, source));
  }

  tokenize(text: string): Uint32Array {
    return this.weights.tokenize(text, true, true);
  }

  detokenize(tokens: Uint32Array): string {
    return this.weights.detokenize(tokens, true);
  }

  /** Begins to continue `prompt`; returns how many of its tokens the session held already. */
  start(prompt: Uint32Array, options: Generating): number {
    return this.text.start(prompt, options);
  }

  /** Takes at most `tokens` of what is to be worked off through at most `layers` layers. */
  step(tokens: number, layers: number): Step {
    const session = this.text;
    const did = session.step(tokens, layers);
    if (did === Did.Prefill) return { kind: 'working' };
    const { text } = session;
    return did === Did.Token ? { kind: 'token', text } : { kind: 'done', text, stopReason: session.stop as StopReason };
  }

  /** Ends what was started; the session keeps the tokens that it worked off. */
  cancel(): void {
    this.text.cancel();
  }

  /** Takes texts to make vectors of; returns how many tokens of each are read, and how many did not fit. */
  take({ texts, query, task, ...options }: Embedding, batch: number): TextTokens[] {
    const embedder = this.embedding({ ...options, batch });
    const counts = query === undefined ? embedder.texts(texts, task) : embedder.pairs(query, texts as string[]);
    return texts.map((_, i) => ({ tokens: counts[2 * i]!, dropped: counts[2 * i + 1]! }));
  }

  /** Makes the vectors of the next texts, as many as are worked on together; nothing when all are made. */
  vectors(): Float32Array[] | undefined {
    return this.embedder?.made.step();
  }

  /** What makes vectors in this way; it is kept for the next texts. */
  private embedding(options: Omit<Embedding, 'texts' | 'query' | 'task'> & { batch?: number }): Embedder {
    const whole = { maxTokens: this.context, ...options };
    const text = JSON.stringify(whole);
    if (this.embedder?.options !== text) {
      const made = this.weights.embedder(whole);
      this.embedder?.made.free();
      this.embedder = { made, options: text };
    }
    return this.embedder.made;
  }

  /** The text in progress. */
  private get text(): Session {
    if (!this.session) throw new MoteError('argument', 'the model makes vectors; it writes no text');
    return this.session;
  }

  /** Bytes of a session with room for `context` tokens. */
  sessionBytes(context: number): number {
    return this.weights.memory({ context });
  }

  save(): Uint8Array {
    return this.text.save();
  }

  restore(state: Uint8Array): void {
    this.text.restore(state);
  }

  free(): void {
    this.session?.free();
    this.embedder?.made.free();
    this.weights.free();
  }
}

/** Bytes of a thread's stack, as many as the first thread has. */
const STACK = 1 << 20;

/** What the bindings tell of a file. */
type Facts = Omit<Info, 'quantization' | 'chat' | 'embedding'> & { weights: string; chatTemplate: boolean; task: 'embed' | 'generate' };
type Sizes = Record<'weights' | 'kv' | 'buffers' | 'total', number>;

function facts({ task, chatTemplate, weights, ...info }: Facts): Info {
  return { ...info, quantization: weights, chat: chatTemplate, embedding: task === 'embed' };
}
