/**
 * The engine in a worker: the page stays responsive while a model thinks, and text flows to it without being asked
 * for. Between two tokens the worker looks at its mail, so a generation can be cancelled.
 */
import init, { Model, Options, type Probe, probe } from '../wasm/motelm_wasm.js';
import type { Answer, GenerateOptions, Info, Request, Source } from './protocol.js';

const ready = init();
let model: Model | undefined;
const cancelled = new Set<number>();
let queue: Promise<void> = Promise.resolve();

self.onmessage = async ({ data: request }: MessageEvent<Request>) => {
  try {
    await ready;
    const value = await answer(request);
    send({ kind: 'done', id: request.id, value });
  } catch (error) {
    const { name, message } = error instanceof Error ? error : new Error(String(error));
    send({ kind: 'error', id: request.id, name, message });
  }
};

async function answer(request: Request): Promise<unknown> {
  switch (request.kind) {
    case 'probe':
      return info(probe(await bytes(request.source)));
    case 'load':
      model = new Model(await bytes(request.source), request.context);
      return info(model.probe);
    case 'tokenize':
      return loaded().tokenize(request.text);
    case 'detokenize':
      return loaded().detokenize(request.tokens);
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
    model.start(prompt, Object.assign(new Options(), options));
    for (let text = model.step(); text !== undefined; text = model.step()) {
      if (text) send({ kind: 'text', id, text });
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

/** A plain copy, which can be posted. */
function info({ version, architecture, name, parameters, bytes }: Probe): Info {
  return { version, architecture, name, parameters, bytes };
}

function loaded(): Model {
  if (!model) throw new Error('no model is loaded');
  return model;
}

function send(message: Answer): void {
  self.postMessage(message);
}
