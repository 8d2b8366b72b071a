/** Workers: a browser's, or Node's worker threads, from the same script. */
import type { Transferable as NodeTransferable } from 'node:worker_threads';
import { base } from './builds.js';
import type { Answer, Request } from './protocol.js';
import type { EngineOptions } from './types.js';
import script from './worker.js?text';

export interface Spawned {
  send(request: Request, transfer?: Transferable[]): void;
  listen(onAnswer: (answer: Answer) => void, onDeath: (message: string) => void): void;
  close(): void;
  /** Whether the process should wait for it. */
  hold?(busy: boolean): void;
}

/** A worker of this platform's kind, or nothing where there is none. */
export function spawn({ workerUrl }: EngineOptions): Spawned | undefined {
  if (typeof Worker === 'function') {
    const blob = workerUrl === undefined ? URL.createObjectURL(new Blob([script], { type: 'text/javascript' })) : undefined;
    // The script is a classic one; Deno, which has no such workers, takes it as a module.
    const type = 'Deno' in globalThis ? 'module' : 'classic';
    const worker = new Worker(blob ?? new URL(workerUrl!, base()), { name: 'motelm', type });
    return {
      send: (request, transfer = []) => worker.postMessage(request, transfer),
      listen(onAnswer, onDeath) {
        worker.onmessage = ({ data }: MessageEvent<Answer>) => {
          if (blob) URL.revokeObjectURL(blob);
          onAnswer(data);
        };
        worker.onerror = (event) => {
          event.preventDefault();
          onDeath(event.message || 'the worker could not start');
        };
      },
      close: () => worker.terminate(),
    };
  }
  // Found this way, bundlers do not look for it.
  const threads = globalThis.process?.getBuiltinModule?.('node:worker_threads');
  if (!threads) return undefined;
  const worker = workerUrl === undefined ? new threads.Worker(script, { eval: true }) : new threads.Worker(new URL(workerUrl));
  return {
    send: (request, transfer = []) => worker.postMessage(request, transfer as NodeTransferable[]),
    listen(onAnswer, onDeath) {
      worker.on('message', onAnswer);
      worker.on('error', (error: Error) => onDeath(error.message));
      worker.on('exit', () => onDeath('the worker ended'));
    },
    close: () => void worker.terminate(),
    hold: (busy) => (busy ? worker.ref() : worker.unref()),
  };
}
