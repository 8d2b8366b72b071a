import { cache } from './cache.js';
import { MoteError, check } from './error.js';
import { Generation } from './generation.js';
import { type Given, again, given } from './given.js';
import { Host } from './host.js';
import { openai } from './openai.js';
import type { Fetching, Generating, LoadEvent, Operations, Prompt } from './protocol.js';
import type { ChatOptions, EmbedOptions, EmbedText, Embeddings, FetchOptions, GenerateOptions, Info, Inspection, LoadOptions, Memory, Message, Plan, Running, Source } from './types.js';

/** A language model, loaded. */
export class Mote {
  /** The files that `load` keeps. */
  static readonly cache = cache;

  /** The same model with the interface of OpenAI's client. */
  readonly openai = openai(this);

  private constructor(
    private readonly host: Host,
    /** What its file says about it. */
    readonly info: Info,
  ) {}

  /**
   * Loads a GGUF model: from a URL, a file, bytes, a stream, the Hugging Face hub, or an array of split files.
   *
   * Files from URLs are kept in the browser's storage and found there the next time, also offline. A model that does
   * not fit is refused with the code `memory` once its header is known, before its weights are read; what only 64-bit
   * addresses reach, is loaded with them where the browser has them.
   */
  static async load(source: Source, options: LoadOptions = {}): Promise<Mote> {
    return withHost(source, options, async (host, files) => {
      const { context, memoryLimit } = options;
      const [info] = await Promise.all([read(host, 'load', files, { room: { context, memoryLimit } }, options), host.bringThreads()]);
      return new Mote(host, info);
    });
  }

  /** What a model would take, by its header: some hundred KB to some MB are read. */
  static async plan(source: Source, options: LoadOptions = {}): Promise<Plan> {
    return withHost(source, options, async (host, files) => {
      const { context, memoryLimit } = options;
      const plan = await read(host, 'plan', files, { room: { context, memoryLimit } }, options);
      host.close();
      if (!plan.fits && widens(host, source, options)) return Mote.plan(source, { ...options, build: 'relaxed64' });
      return { ...plan, build: host.running.build };
    });
  }

  /** Everything that the header of a model says: metadata and tensors. */
  static async inspect(source: Source, options: LoadOptions = {}): Promise<Inspection> {
    return withHost(source, options, async (host, files) => {
      const inspection = await read(host, 'inspect', files, {}, options);
      host.close();
      return inspection;
    });
  }

  /** Answers a conversation, in the form that the model's own chat template gives it. */
  chat(messages: Message[], { tools, template, variables, ...options }: ChatOptions = {}): Generation {
    return this.generation({ messages, ...(tools && { tools }), ...(template && { template }), ...(variables && { variables }) }, options);
  }

  /** Continues a text. */
  generate(prompt: string, options: GenerateOptions = {}): Generation {
    return this.generation({ text: prompt }, options);
  }

  /** A vector for each text, many texts at a time. A model that writes text needs to be told a `pooling`. */
  embed(texts: EmbedText[], options?: EmbedOptions): Promise<Float32Array[]>;
  embed(text: EmbedText, options?: EmbedOptions): Promise<Float32Array>;
  async embed(texts: EmbedText | EmbedText[], options: EmbedOptions = {}): Promise<Float32Array | Float32Array[]> {
    const { vectors } = await this.embedMany([texts].flat(), options);
    return Array.isArray(texts) ? vectors : vectors[0]!;
  }

  /** As `embed`, with what was read of each text. */
  embedMany(texts: EmbedText[], { signal, ...options }: EmbedOptions = {}): Promise<Embeddings> {
    return this.host.ask('embed', { ...options, texts }, { signal });
  }

  /** How well each document answers the query, by a reranker: larger is better. */
  async rank(query: string, documents: string[], { signal }: { signal?: AbortSignal } = {}): Promise<number[]> {
    const { vectors } = await this.host.ask('embed', { texts: documents, query }, { signal });
    return vectors.map((scores) => scores[0]!);
  }

  /** The ids of a text's tokens, with the ones that the model wants at the beginning or end. */
  tokenize(text: string): Promise<Uint32Array> {
    return this.host.ask('tokenize', { text });
  }

  /** The text of tokens. */
  detokenize(tokens: Iterable<number>): Promise<string> {
    return this.host.ask('detokenize', { tokens: Uint32Array.from(tokens) });
  }

  /** How many tokens a text or a conversation has. */
  countTokens(prompt: string | Message[]): Promise<number> {
    return this.host.ask('count', { prompt: typeof prompt === 'string' ? { text: prompt } : { messages: prompt } });
  }

  /** Bytes that the model takes with a session of `context` tokens; by default the one it has. */
  memory({ context }: { context?: number } = {}): Promise<Memory> {
    return this.host.ask('memory', { context });
  }

  /** Bytes of memory that the engine holds now. */
  heldMemory(): Promise<number> {
    return this.host.ask('held', {});
  }

  /** The text so far with all that was computed for it, to go on later without working it off again. */
  save(): Promise<Uint8Array> {
    return this.host.ask('save', {});
  }

  /** Goes on from what `save` returned, for the same model. */
  restore(state: Uint8Array): Promise<void> {
    return this.host.ask('restore', { state });
  }

  /** How it runs here. */
  get running(): Running {
    return this.host.running;
  }

  /** Whether it was unloaded, or has crashed. */
  get closed(): boolean {
    return this.host.closed;
  }

  /** Stops everything, and gives all memory back. */
  unload(): void {
    this.host.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.unload();
  }

  private generation(prompt: Prompt, { signal, stop, seed, ...rest }: GenerateOptions): Generation {
    const drawn = seed ?? Math.floor(Math.random() * 2 ** 32);
    const options: Generating = { ...rest, seed: drawn, stop: stop === undefined ? [] : [stop].flat() };
    return new Generation(
      (onEvent, signal) => this.host.ask('generate', { prompt, options }, { signal, onEvent }),
      signal,
    );
  }
}

/**
 * Starts an engine for `work` and ends it when that fails. What cannot be used does not cost one. When the model is too
 * large for 32-bit addresses, it is done again with 64 bits where that is possible.
 */
async function withHost<T>(source: Source, options: LoadOptions, work: (host: Host, files: Given) => Promise<T>): Promise<T> {
  check(options.signal);
  const files = given(source);
  const host = await Host.start(options, options.signal);
  try {
    return await work(host, files);
  } catch (error) {
    const tooLarge = MoteError.from(error).code === 'memory' && widens(host, source, options) && !(await addressable(host, source, options).catch(() => true));
    host.close();
    if (!tooLarge) throw error;
    return withHost(source, { ...options, build: 'relaxed64' }, work);
  } finally {
    for (const pump of files.pumps) void pump?.return?.();
  }
}

/** Whether what is too large for this host may be tried with 64-bit addresses; a limit of 4 GiB would refuse it there, too. */
function widens(host: Host, source: Source, { memoryLimit = Infinity }: LoadOptions): boolean {
  return host.mayWiden && memoryLimit > 2 ** 32 && again(source);
}

/** Whether this host has addresses enough for a model. One that it could not hold nevertheless had too little memory. */
async function addressable(host: Host, source: Source, options: LoadOptions): Promise<boolean> {
  const room = { context: options.context, memoryLimit: undefined };
  return (await read(host, 'plan', given(source), { room }, options)).fits;
}

type Reading = 'load' | 'plan' | 'inspect';

/** Asks for something about files, and hands over those that only this side can read. */
function read<O extends Reading>(
  host: Host,
  op: O,
  { files, pumps }: Given,
  more: Omit<Operations[O]['ask'], 'files' | 'fetching'>,
  { signal, onProgress, headers, sha256, cache }: FetchOptions,
): Promise<Operations[O]['answer']> {
  const fetching: Fetching = { ...(headers && { headers }), ...(sha256 && { sha256 }), ...(cache !== undefined && { cache }) };
  const onEvent = (event: LoadEvent, id: number) => {
    if ('progress' in event) return onProgress?.(event.progress);
    const file = event.pull;
    pumps[file]!.next().then(
      ({ done, value }) => host.feed({ op: 'feed', id, file, ...(!done && { piece: value }) }),
      (error: unknown) => host.feed({ op: 'feed', id, file, error: error instanceof Error ? error.message : String(error) }),
    );
  };
  const ask = { files, fetching, ...more } as Operations[O]['ask'];
  return host.ask(op, ask, { signal, onEvent: onEvent as (event: Operations[O]['event'], id: number) => void });
}
