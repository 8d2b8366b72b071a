/**
 * What the two sides say to each other: a [host](host.ts) asks, the [service](service.ts) beside the engine answers.
 *
 * Every request has an id. Events of it may come before its one answer, which ends it.
 */
import type { MoteErrorCode } from './error.js';
import type { Compiled } from './builds.js';
import type { ChatOptions, EmbedOptions, EmbedText, Embeddings, FetchOptions, GenerateOptions, Info, Inspection, Memory, Message, Plan, Progress, Result } from './types.js';

/** A file in a form that can be posted. */
export type Portable =
  | { kind: 'url'; url: string }
  | { kind: 'blob'; blob: Blob }
  | { kind: 'path'; path: string }
  /** Bytes that the host hands over a piece at a time, when asked for. */
  | { kind: 'pump'; size?: number };

/** How to fetch, without what cannot be posted. */
export type Fetching = Omit<FetchOptions, 'signal' | 'onProgress'>;

/** Limits of a header. */
export interface Room {
  context: number | undefined;
  memoryLimit: number | undefined;
}

/** What a service says of a plan; the host knows in which build. */
export type Judgement = Omit<Plan, 'build'>;

/** Everything one can ask for: what is asked, what is answered, what is told in between. */
export interface Operations {
  start: { ask: Compiled; answer: void; event: never };
  /** Sends the engine's module and memory through each port, to the workers that will be its threads. */
  share: { ask: { ports: MessagePort[] }; answer: void; event: never };
  /** Makes this worker a thread of the engine behind `port`: there is an event when it has come, and no answer. */
  help: { ask: { port: MessagePort }; answer: void; event: 'came' };
  load: { ask: { files: Portable[]; fetching: Fetching; room: Room }; answer: Info; event: LoadEvent };
  inspect: { ask: { files: Portable[]; fetching: Fetching }; answer: Inspection; event: LoadEvent };
  plan: { ask: { files: Portable[]; fetching: Fetching; room: Room }; answer: Judgement; event: LoadEvent };
  generate: { ask: { prompt: Prompt; options: Generating }; answer: Omit<Result, 'text'>; event: string };
  tokenize: { ask: { text: string }; answer: Uint32Array; event: never };
  detokenize: { ask: { tokens: Uint32Array }; answer: string; event: never };
  count: { ask: { prompt: Prompt }; answer: number; event: never };
  embed: { ask: Embedding; answer: Embeddings; event: never };
  memory: { ask: { context: number | undefined }; answer: Memory; event: never };
  held: { ask: Record<string, never>; answer: number; event: never };
  save: { ask: Record<string, never>; answer: Uint8Array; event: never };
  restore: { ask: { state: Uint8Array }; answer: void; event: never };
}

/** How to generate, without what cannot be posted. */
export type Generating = Omit<GenerateOptions, 'signal' | 'stop'> & { stop: string[]; seed: number };

/** Texts to make vectors of, or with a query documents to score, without what cannot be posted. */
export type Embedding = Omit<EmbedOptions, 'signal'> & { texts: EmbedText[]; query?: string };

/** A text to continue, or a conversation to answer. */
export type Prompt = { text: string } | ({ messages: Message[] } & Templating);

/** How to make a text of a conversation. */
export type Templating = Pick<ChatOptions, 'tools' | 'template' | 'variables'>;

export type Operation = keyof Operations;

/** News while a file is read. */
export type LoadEvent = { progress: Progress } | { pull: number };

export type Request =
  | { [O in Operation]: { op: O; id: number; ask: Operations[O]['ask'] } }[Operation]
  /** Ends request `id`, whose answer nobody waits for any more. */
  | { op: 'cancel'; id: number }
  /** The next piece of file `file` of request `id`; none at its end. */
  | { op: 'feed'; id: number; file: number; piece?: Uint8Array; error?: string }
  /** The module of chat templates that was asked for, or why it could not be had. */
  | { op: 'templates'; module: WebAssembly.Module }
  | { op: 'templates'; error: { code: MoteErrorCode; message: string } };

export type Answer =
  | { kind: 'value'; id: number; value: unknown }
  | { kind: 'event'; id: number; event: unknown }
  | { kind: 'error'; id: number; code: MoteErrorCode; message: string }
  /** The module of chat templates is needed. */
  | { kind: 'templates' }
  /** The engine is broken; nothing more will come. */
  | { kind: 'crash'; message: string }
  /** The worker is there. */
  | { kind: 'hello' }
  /** With Web Locks, it holds the lock of this name from now on, as long as it lives. */
  | { kind: 'lock'; lock: string | undefined };

/** Where the service's answers go. */
export type Send = (answer: Answer, transfer?: ArrayBuffer[]) => void;
