/** The worker: a [service](service.ts) that hears what is posted to it. One script, in a browser as in Node. */
import { Service } from './service.js';
import type { Answer, Request } from './protocol.js';
import { store } from './store.js';

interface Port {
  postMessage(message: unknown, transfer?: ArrayBuffer[]): void;
}

const node = globalThis.process?.getBuiltinModule?.('node:worker_threads')?.parentPort;
const port: Port = node ?? (self as unknown as Port);
const service = new Service((answer: Answer, transfer) => port.postMessage(answer, transfer), 'worker');
if (node) node.on('message', (request: Request) => void service.receive(request));
else self.addEventListener('message', ({ data }: MessageEvent<Request>) => void service.receive(data));

/** The page asks for this lock too, and gets it when this worker is no more. */
async function lives(): Promise<void> {
  const lock = globalThis.navigator?.locks && `motelm worker ${crypto.randomUUID()}`;
  if (lock) {
    await new Promise<void>((held) => {
      const forever = () => (held(), new Promise<void>(() => {}));
      navigator.locks.request(lock, forever).catch(() => held());
    });
  }
  port.postMessage({ kind: 'lock', lock } satisfies Answer);
}

port.postMessage({ kind: 'hello' } satisfies Answer);
void lives();
// It opens while the engine comes.
void store();
