/**
 * The engine in a worker: the page stays responsive while a model thinks, and text flows to it without being asked
 * for. Between two tokens the worker looks at its mail, so a generation can be cancelled.
 */
import init, { Did, Head, Loader, type Model, type Session } from '../wasm/simd128/motelm_wasm.js';
import type { Answer, GenerateOptions, Info, Request, Source } from './protocol.js';

const ready = init();
let model: Model | undefined;
let session: Session | undefined;
const cancelled = new Set<number>();
let queue: Promise<void> = Promise.resolve();

self.onmessage = async ({ data: request }: MessageEvent<Request>) => {
  try {
    await ready;
    const value = await answer(request);
    send({ kind: 'done', id: request.id, value });
  } catch (error) {
    const { code, name, message } = error as Error & { code?: string };
    send({ kind: 'error', id: request.id, name: code ?? name, message });
  }
};

async function answer(request: Request): Promise<unknown> {
  switch (request.kind) {
    case 'probe':
      return info(head(await bytes(request.source)));
    case 'load': {
      const file = await bytes(request.source);
      const loader = new Loader(new Float64Array([file.length]));
      loader.push(file);
      model = loader.finish();
      session = model.session(JSON.stringify({ context: request.context }));
      return info(model);
    }
    case 'tokenize':
      return loaded().tokenize(request.text, true, false);
    case 'detokenize':
      return loaded().detokenize(request.tokens, false);
    case 'generate': {
      // One after the other: a model works on one text at a time.
      const turn = queue.then(() => generate(request.id, request.prompt, request.options));
      queue = turn.catch(() => {});
      return turn;
    }
    case 'cancel':
      cancelled.add(request.id);
      return undefined;
  }
}

async function generate(id: number, prompt: string, options: GenerateOptions): Promise<void> {
  const model = loaded();
  try {
    if (cancelled.has(id)) return;
    if (!session) return;
    const all = { maxTokens: 256, ...options };
    session.start(model.tokenize(prompt, true, false), JSON.stringify(all));
    for (let did = Did.Prefill; did !== Did.Done; ) {
      did = session.step(256, 8);
      if (session.text) send({ kind: 'text', id, text: session.text });
      await mail();
      if (cancelled.has(id)) return;
    }
  } finally {
    cancelled.delete(id);
  }
}

/** Lets waiting messages in. A message channel, since timers are held back to a few milliseconds. */
function mail(): Promise<void> {
  return new Promise((resolve) => {
    const { port1, port2 } = new MessageChannel();
    port1.onmessage = () => {
      port1.close();
      resolve();
    };
    port2.postMessage(undefined);
  });
}

async function bytes(source: Source): Promise<Uint8Array> {
  if (typeof source !== 'string') return source;
  const response = await fetch(source);
  if (!response.ok) throw new Error(`${source}: ${response.status} ${response.statusText}`);
  return new Uint8Array(await response.arrayBuffer());
}

function head(file: Uint8Array): Head {
  const head = Head.read([file], new Float64Array([file.length]));
  if (!head) throw new Error('a whole file has a head');
  return head;
}

/** A plain copy, which can be posted. */
function info(source: Head | Model): Info {
  const { version, architecture, name, parameters, bytes } = JSON.parse(source.info()) as Info;
  return { version, architecture, name, parameters, bytes };
}

function loaded(): Model {
  if (!model) throw new Error('no model is loaded');
  return model;
}

function send(message: Answer): void {
  self.postMessage(message);
}
