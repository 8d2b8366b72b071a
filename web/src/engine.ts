/**
 * The engine as the service sees it. This file alone knows the bindings: what they take and return as JSON text, and
 * what their errors are called.
 */
import { Did, Head, Loader as Bytes, type Model as Weights, type Session, initSync } from '../wasm/simd128/motelm_wasm.js';
import type { Compiled } from './builds.js';
import type { Generating, Prompt } from './protocol.js';
import type { Info, Inspection, Memory, StopReason } from './types.js';

/** What a step brought. */
export type Step =
  | { kind: 'working' }
  | { kind: 'token'; text: string }
  | { kind: 'done'; text: string; stopReason: StopReason };

/** A module with its memory. */
export class Engine {
  private constructor(private readonly memory: WebAssembly.Memory) {}

  static async start({ module }: Compiled): Promise<Engine> {
    return new Engine(initSync({ module }).memory);
  }

  /** Bytes that the module holds. */
  get bytes(): number {
    return this.memory.buffer.byteLength;
  }
}

/** What the beginning of a model says. */
export class Header {
  private constructor(private readonly head: Head) {}

  /** Whether `start` holds the whole header of a file of `size` bytes. */
  static complete(start: Uint8Array, size: number): boolean {
    return Head.splitCount(start, size) !== undefined;
  }

  /** Reads the beginnings of a model's files. */
  static read(starts: Uint8Array[], sizes: number[]): Header {
    return new Header(Head.read(starts, Float64Array.from(sizes))!);
  }

  get info(): Info {
    return facts(this.head.info());
  }

  /** What a session of `context` tokens takes with the model. Fails with `memory` when no module could hold it. */
  memory(context: number | undefined): Memory {
    const { weights, kv, buffers, total } = JSON.parse(this.head.plan(json({ context })));
    return { weights, tables: total - weights - kv - buffers, session: kv + buffers, total };
  }

  inspect(): Inspection {
    const metadata = Object.fromEntries(JSON.parse(this.head.metadata()));
    return { info: this.info, metadata, tensors: JSON.parse(this.head.tensors()) };
  }

  free(): void {
    this.head.free();
  }
}

/** A model that is arriving: each tensor goes straight to where it stays. */
export class Loader {
  private readonly bytes: Bytes;

  /** For files of these sizes, whose bytes follow each other. */
  constructor(sizes: number[]) {
    this.bytes = new Bytes(Float64Array.from(sizes));
  }

  push(bytes: Uint8Array): void {
    this.bytes.push(bytes);
  }

  /** The model, with room for `context` tokens. The loader is gone afterwards. */
  finish(context: number | undefined): Model {
    const weights = this.bytes.finish();
    try {
      return new Model(weights, weights.session(json({ context })));
    } catch (error) {
      weights.free();
      throw error;
    }
  }

  free(): void {
    this.bytes.free();
  }
}

/** A model and the text that it works on. */
export class Model {
  readonly info: Info;

  constructor(
    private readonly weights: Weights,
    private readonly session: Session,
  ) {
    this.info = { ...facts(weights.info()), context: session.context };
  }

  /** The tokens of a prompt, with the ones that the model wants around it. */
  tokens(prompt: Prompt): Uint32Array {
    if ('text' in prompt) return this.tokenize(prompt.text);
    const { messages, ...templating } = prompt;
    return this.weights.chatTokens(JSON.stringify(messages), json({ ...templating, now: localTime() }));
  }

  tokenize(text: string): Uint32Array {
    return this.weights.tokenize(text, true, true);
  }

  detokenize(tokens: Uint32Array): string {
    return this.weights.detokenize(tokens, true);
  }

  /** Begins to continue `prompt`; returns how many of its tokens the session held already. */
  start(prompt: Uint32Array, options: Generating): number {
    return this.session.start(prompt, json(options));
  }

  /** Takes at most `tokens` of what is to be worked off through at most `layers` layers. */
  step(tokens: number, layers: number): Step {
    const did = this.session.step(tokens, layers);
    if (did === Did.Prefill) return { kind: 'working' };
    const { text } = this.session;
    return did === Did.Token ? { kind: 'token', text } : { kind: 'done', text, stopReason: this.session.stop as StopReason };
  }

  /** Ends what was started; the session keeps the tokens that it worked off. */
  cancel(): void {
    this.session.cancel();
  }

  embed(text: string): Float32Array {
    return this.session.embed(text);
  }

  /** Bytes of a session with room for `context` tokens. */
  sessionBytes(context: number): number {
    return this.weights.memory(json({ context }));
  }

  save(): Uint8Array {
    return this.session.save();
  }

  restore(state: Uint8Array): void {
    this.session.restore(state);
  }

  free(): void {
    this.session.free();
    this.weights.free();
  }
}

function json(options: object): string {
  return JSON.stringify(options);
}

function facts(text: string): Info {
  const { task, chatTemplate, weights, ...info } = JSON.parse(text, (_, value) => value ?? undefined);
  return { ...info, quantization: weights, chat: chatTemplate, embedding: task === 'embed' };
}

/** For templates that ask for the date. */
function localTime(): string {
  const now = new Date();
  return new Date(now.getTime() - now.getTimezoneOffset() * 60_000).toISOString().slice(0, 19);
}
