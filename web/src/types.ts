/** A file in a repository of the Hugging Face hub. */
export interface HubFile {
  /** `owner/name`. */
  repo: string;
  /** Path in the repository. */
  file: string;
  /** Branch, tag or commit (`main`). */
  revision?: string;
  /** Address of the hub (`https://huggingface.co`). */
  endpoint?: string;
}

/** One file: an address, bytes, or a stream of bytes. In Node, a string may also be a path. */
export type SingleSource = string | URL | Blob | ArrayBuffer | Uint8Array | ReadableStream<Uint8Array> | Response | HubFile;

/** Where a model comes from. An array holds the files of a split model in their order. */
export type Source = SingleSource | SingleSource[];

/** A compiled form of the engine. `threads` and `relaxed64`, which has 64-bit addresses, have the instructions of `relaxed`. */
export type Build = 'simd128' | 'relaxed' | 'relaxed64' | 'threads';

/** How far loading is. */
export interface Progress {
  /** What is going on: bytes come over the network, from the cache or from memory; or all is `ready`. */
  phase: 'download' | 'cache' | 'read' | 'ready';
  /** Bytes so far. */
  loaded: number;
  /** Bytes in all, where that is known. */
  total?: number;
  /** From 0 to 1; 0 as long as the size is not known. */
  ratio: number;
}

/** What cannot be changed once a worker runs. */
export interface EngineOptions {
  /** Run in a worker (`true`). Without one, the engine works in slices of the calling thread's time. */
  worker?: boolean;
  /** Address of this package's `dist/worker.js`, for pages whose policy forbids `blob:` workers. */
  workerUrl?: string | URL;
  /** Address of the folder that holds this package's `.wasm` files (ends with `/`), or of one that has `chat.wasm` beside it. */
  wasmUrl?: string | URL;
  /** Which build to use; by default the fastest that runs here, and `relaxed64` for what does not fit into its 4 GiB. */
  build?: Build;
  /**
   * How many threads may work at once, where the page is cross-origin isolated (a worker and relaxed SIMD are needed,
   * too); elsewhere it is one. By default half of `navigator.hardwareConcurrency`, which counts what a core can do on
   * the side as a core of its own, but at least two where there are two, and at most eight; in Deno one.
   */
  threads?: number;
}

/** How to read from a URL. */
export interface FetchOptions {
  signal?: AbortSignal;
  onProgress?: (progress: Progress) => void;
  /** Headers of the requests, such as `authorization`. */
  headers?: Record<string, string>;
  /** What the SHA-256 of the file must be, in hexadecimal. */
  sha256?: string;
  /**
   * `true`: keep the file and use what is kept (default). `'revalidate'`: ask the server first whether it changed.
   * `'reload'`: download again. `'required'`: fail when there is no room to keep it. `false`: neither.
   */
  cache?: boolean | 'revalidate' | 'reload' | 'required';
}

/** How to load a model. */
export interface LoadOptions extends EngineOptions, FetchOptions {
  /** How many tokens of text the model can hold; by default as many as it was trained for, at most 4096. */
  context?: number;
  /** Refuse to take more bytes of memory than this. */
  memoryLimit?: number;
}

/** What a model file says about itself. */
export interface Info {
  /** `general.architecture`. */
  architecture: string;
  /** `general.name`. */
  name?: string;
  /** `general.license`. */
  license?: string;
  /** How many weights it has. */
  parameters: number;
  /** Size of its files in bytes. */
  bytes: number;
  /** What most weights are stored as, such as `Q4_K`. */
  quantization: string;
  /** GGUF version, 1 to 3. */
  version: number;
  layers: number;
  /** Numbers in a token's vector, or in the vectors that an embedding model makes. */
  dimensions: number;
  /** Tokens that it knows. */
  vocabulary: number;
  /** Tokens that it was trained to hold. */
  trainedContext: number;
  /** Tokens that fit, once it is loaded. */
  context?: number;
  /** Whether the file has a chat template. */
  chat: boolean;
  /** Whether it makes vectors instead of text. */
  embedding: boolean;
  /** What a vector can be made for, by names that `EmbedOptions` takes, once it is loaded. */
  tasks?: string[];
}

/** How this model runs. */
export interface Running {
  build: Build;
  worker: boolean;
  /** Threads that work on it. */
  threads: number;
}

/** Bytes of memory. */
export interface Memory {
  /** The weights as they lie in the file. */
  weights: number;
  /** Vocabulary, metadata, small vectors, and the stacks of threads. */
  tables: number;
  /** Keys, values and buffers of the text in progress. */
  session: number;
  total: number;
}

/** A tensor of a file. */
export interface Tensor {
  name: string;
  type: string;
  /** Fastest dimension first, as in the file. */
  shape: number[];
  bytes: number;
}

/** Everything that the header of a file says. */
export interface Inspection {
  info: Info;
  /** Long arrays are cut to their first elements. */
  metadata: Record<string, unknown>;
  tensors: Tensor[];
}

/** What a model would take, by its header. */
export interface Plan {
  /** The build that it would run in. */
  build: Build;
  /** Unknown when the file alone is more than that build can address. */
  info?: Info;
  /** Unknown when it is more than any page can have. */
  memory?: Memory;
  /** Whether it fits here. */
  fits: boolean;
  /** Why it does not. */
  reason?: string;
}

/** A message of a conversation. */
export interface Message {
  role: 'system' | 'user' | 'assistant' | 'tool' | (string & {});
  content: string;
  [key: string]: unknown;
}

/** How to generate. What is left out has the engine's default, which is llama.cpp's. */
export interface GenerateOptions {
  /** Ends it early. */
  signal?: AbortSignal;
  /** At most this many tokens; by default until the model ends or the context is full. */
  maxTokens?: number;
  /** Texts that end it, wherever they appear; they are not part of the result. */
  stop?: string | string[];
  /** Fixes every random choice; drawn by default. */
  seed?: number;
  /** Flattens (above 1) or sharpens (below 1) the choice; 0 always takes the most probable token. */
  temperature?: number;
  /** Chooses among this many most probable tokens; 0 among all. */
  topK?: number;
  /** Chooses among the most probable tokens that hold this share of the probability; 1 among all. */
  topP?: number;
  /** Chooses among tokens at least this share as probable as the best one; 0 among all. */
  minP?: number;
  /** Divides the logits of recent tokens; 1 is off. */
  repeatPenalty?: number;
}

/** How to answer a conversation. */
export interface ChatOptions extends GenerateOptions {
  /** Descriptions of tools, as the template wants them (usually JSON schemas in OpenAI's form). */
  tools?: unknown[];
  /** A Jinja chat template instead of the one in the file. */
  template?: string;
  /** What else the template asks for, such as `{ enable_thinking: false }`. */
  variables?: Record<string, unknown>;
}

/** Why a generation ended: the model's own end, a stop text, `maxTokens`, or a full context. */
export type StopReason = 'end' | 'stop' | 'length' | 'context';

/** What a generation came to. */
export interface Result {
  text: string;
  stopReason: StopReason;
  usage: {
    promptTokens: number;
    /** Tokens of the prompt that did not have to be worked off again. */
    reusedTokens: number;
    completionTokens: number;
  };
  timings: {
    /** Milliseconds until the prompt was worked off. */
    promptMs: number;
    /** Milliseconds after that. */
    completionMs: number;
    /** Tokens of the completion per second. */
    tokensPerSecond: number;
  };
}

/** A text to make a vector of. Titles are for tasks that know them; elsewhere they become the first line. */
export type EmbedText = string | { title: string; text: string };

/** How to make vectors. What is left out is as the file says. */
export interface EmbedOptions {
  /** Ends it early. */
  signal?: AbortSignal;
  /** What the vectors are for, one of `info.tasks`: puts in front of each text what the model wants to read there. */
  task?: string;
  /** How the vectors of tokens become one; with `'none'` they do not, and follow each other in one array. */
  pooling?: 'cls' | 'last' | 'max' | 'mean' | 'none' | 'rank';
  /** Keeps this many elements, for models that put what matters most in front. */
  dim?: number;
  /** Gives vectors the length 1, so that their products are cosines (`true`). */
  normalize?: boolean;
  /** Tokens of a text that are read; by default as many as the model was trained for. */
  maxTokens?: number;
}

/** What became of a text. */
export interface TextTokens {
  /** Tokens that were read. */
  tokens: number;
  /** Tokens at its end that did not fit. */
  dropped: number;
}

/** Vectors of texts. */
export interface Embeddings {
  vectors: Float32Array[];
  /** What was read of each text. */
  texts: TextTokens[];
}
