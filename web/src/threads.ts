/**
 * The threads beside the engine's own: workers that get its memory from it and work there from then on. They are the
 * host's and not the engine's, because a worker that waits for its threads cannot hear that one has died.
 */
import type { Answer } from './protocol.js';
import { spawn } from './spawn.js';
import type { EngineOptions } from './types.js';

/** How long to wait for a thread that does not come, in milliseconds. The engine does not need it; it is only slower. */
const PATIENCE = 2000;

export class Threads {
  /** Where the engine's memory is to be sent, for each thread. */
  readonly ports: MessagePort[] = [];
  /** Settles when all have come, or enough time was given to them. */
  readonly come: Promise<void>;
  /** How many have come. */
  count = 0;
  private readonly workers: { close(): void }[] = [];
  private patience: ReturnType<typeof setTimeout> | undefined;

  constructor(wanted: number, options: EngineOptions, watch: (lock: string | undefined) => void, died: (message: string) => void) {
    const all = Array.from({ length: wanted }, () => {
      const worker = spawn(options)!;
      this.workers.push(worker);
      const { port1, port2 } = new MessageChannel();
      this.ports.push(port1);
      return new Promise<void>((came) => {
        const onAnswer = (answer: Answer) => {
          if (answer.kind === 'lock') {
            watch(answer.lock);
            worker.send({ op: 'help', id: 0, ask: { port: port2 } }, [port2]);
          } else if (answer.kind === 'event') {
            this.count += 1;
            came();
          } else if ('message' in answer) {
            died(answer.message);
          }
        };
        worker.listen(onAnswer, died);
        worker.hold?.(false);
      });
    });
    this.come = new Promise((settle) => {
      this.patience = setTimeout(settle, PATIENCE);
      void Promise.all(all).then(() => (clearTimeout(this.patience), settle()));
    });
  }

  close(): void {
    clearTimeout(this.patience);
    for (const worker of this.workers) worker.close();
  }
}
