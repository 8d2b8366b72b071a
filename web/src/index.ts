/**
 * MoteLM in a web page, a worker, Node, Deno or Bun.
 *
 * ```ts
 * const mote = await Mote.load('https://example.com/model.gguf');
 * for await (const piece of mote.chat([{ role: 'user', content: 'Hi' }])) show(piece);
 * mote.unload();
 * ```
 */
export { type CachedFile } from './cache.js';
export { MoteError, type MoteErrorCode } from './error.js';
export { Generation } from './generation.js';
export { hubUrl } from './given.js';
export { Mote } from './mote.js';
export type { ChatCompletion, ChatCompletionChunk, ChatCompletionRequest, EmbeddingRequest, EmbeddingResponse } from './openai.js';
export type * from './types.js';
