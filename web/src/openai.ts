/**
 * The shape of OpenAI's client, for code that was written for it: `mote.openai.chat.completions.create(...)`.
 * The model is the one that is loaded, whatever `model` says.
 */
import type { Generation } from './generation.js';
import type { Mote } from './mote.js';
import type { ChatOptions, Message, Result } from './types.js';

export interface ChatCompletionRequest {
  messages: Message[];
  model?: string;
  stream?: boolean;
  stream_options?: { include_usage?: boolean };
  max_tokens?: number | null;
  max_completion_tokens?: number | null;
  temperature?: number | null;
  top_p?: number | null;
  seed?: number | null;
  stop?: string | string[] | null;
  tools?: unknown[];
  /** Beyond OpenAI's: as `topK`, `minP`, `repeatPenalty`, and `template` and `variables` of `mote.chat`. */
  template?: string;
  variables?: Record<string, unknown>;
  top_k?: number;
  min_p?: number;
  repeat_penalty?: number;
}

type FinishReason = 'stop' | 'length';

export interface Usage {
  prompt_tokens: number;
  completion_tokens: number;
  total_tokens: number;
  prompt_tokens_details: { cached_tokens: number };
}

export interface ChatCompletion {
  id: string;
  object: 'chat.completion';
  created: number;
  model: string;
  choices: [{ index: 0; message: { role: 'assistant'; content: string }; finish_reason: FinishReason; logprobs: null }];
  usage: Usage;
}

export interface ChatCompletionChunk {
  id: string;
  object: 'chat.completion.chunk';
  created: number;
  model: string;
  choices: { index: 0; delta: { role?: 'assistant'; content?: string }; finish_reason: FinishReason | null; logprobs: null }[];
  usage?: Usage | null;
}

export interface EmbeddingRequest {
  input: string | string[];
  model?: string;
  dimensions?: number;
  encoding_format?: 'float';
}

export interface EmbeddingResponse {
  object: 'list';
  model: string;
  data: { object: 'embedding'; index: number; embedding: number[] }[];
  usage: { prompt_tokens: number; total_tokens: number };
}

/** As the second argument of OpenAI's calls. */
export interface RequestOptions {
  signal?: AbortSignal;
}

/** The two calls that a loaded model can answer. */
export function openai(mote: Mote) {
  function create(request: ChatCompletionRequest & { stream: true }, options?: RequestOptions): Promise<AsyncIterable<ChatCompletionChunk>>;
  function create(request: ChatCompletionRequest & { stream?: false }, options?: RequestOptions): Promise<ChatCompletion>;
  async function create(request: ChatCompletionRequest, { signal }: RequestOptions = {}): Promise<ChatCompletion | AsyncIterable<ChatCompletionChunk>> {
    const generation = mote.chat(request.messages, { ...ours(request), ...(signal && { signal }) });
    const head = {
      id: `chatcmpl-${Math.random().toString(36).slice(2)}`,
      created: Math.floor(Date.now() / 1000),
      model: mote.info.name ?? mote.info.architecture,
    };
    if (request.stream) return chunks(generation, head, request.stream_options?.include_usage ?? false);
    const result = await generation.result;
    const message = { role: 'assistant' as const, content: result.text };
    return {
      ...head,
      object: 'chat.completion',
      choices: [{ index: 0, message, finish_reason: finishReason(result), logprobs: null }],
      usage: usage(result),
    };
  }

  async function embed({ input, dimensions }: EmbeddingRequest, options: RequestOptions = {}): Promise<EmbeddingResponse> {
    const { vectors, texts } = await mote.embedMany([input].flat(), { ...options, ...(dimensions && { dim: dimensions }) });
    const tokens = texts.reduce((sum, text) => sum + text.tokens, 0);
    return {
      object: 'list',
      model: mote.info.name ?? mote.info.architecture,
      data: vectors.map((vector, index) => ({ object: 'embedding', index, embedding: [...vector] })),
      usage: { prompt_tokens: tokens, total_tokens: tokens },
    };
  }

  return { chat: { completions: { create } }, embeddings: { create: embed } };
}

async function* chunks(
  generation: Generation,
  head: Pick<ChatCompletion, 'id' | 'created' | 'model'>,
  withUsage: boolean,
): AsyncGenerator<ChatCompletionChunk, void, void> {
  const chunk = (delta: { role?: 'assistant'; content?: string }, finish: FinishReason | null = null): ChatCompletionChunk => ({
    ...head,
    object: 'chat.completion.chunk',
    choices: [{ index: 0, delta, finish_reason: finish, logprobs: null }],
    ...(withUsage && { usage: null }),
  });
  yield chunk({ role: 'assistant', content: '' });
  for await (const content of generation) yield chunk({ content });
  const result = await generation.result;
  yield chunk({}, finishReason(result));
  if (withUsage) yield { ...chunk({}), choices: [], usage: usage(result) };
}

/** OpenAI's names as ours; `null` means the default there. */
function ours(request: ChatCompletionRequest): ChatOptions {
  const options = {
    maxTokens: request.max_completion_tokens ?? request.max_tokens,
    temperature: request.temperature,
    topP: request.top_p,
    topK: request.top_k,
    minP: request.min_p,
    repeatPenalty: request.repeat_penalty,
    seed: request.seed,
    stop: request.stop,
    tools: request.tools,
    template: request.template,
    variables: request.variables,
  };
  return Object.fromEntries(Object.entries(options).filter(([, value]) => value !== null && value !== undefined));
}

function finishReason({ stopReason }: Result): FinishReason {
  return stopReason === 'end' || stopReason === 'stop' ? 'stop' : 'length';
}

function usage({ usage: { promptTokens, reusedTokens, completionTokens } }: Result): Usage {
  return {
    prompt_tokens: promptTokens,
    completion_tokens: completionTokens,
    total_tokens: promptTokens + completionTokens,
    prompt_tokens_details: { cached_tokens: reusedTokens },
  };
}
