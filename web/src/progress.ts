import type { Opened } from './source.js';
import type { Progress } from './types.js';

/** How far it is, as callers are told. */
export function progressOf(phase: Progress['phase'], loaded: number, total: number | undefined): Progress {
  const ratio = phase === 'ready' ? 1 : total ? Math.min(loaded / total, 1) : 0;
  return { phase, loaded, ...(total !== undefined && { total }), ratio };
}

/** Adds up what arrives, and says so often enough to draw and seldom enough to cost nothing. */
export class Reporter {
  private loaded = 0;
  private last = -Infinity;
  private total: number | undefined;

  constructor(
    private readonly tell: (progress: Progress) => void,
    files: Opened[],
  ) {
    if (files.every(({ size }) => size !== undefined)) this.total = files.reduce((sum, { size }) => sum + size!, 0);
  }

  /** What the header says, where nobody else did. */
  expect(total: number): void {
    this.total ??= total;
  }

  add(bytes: number, phase: Progress['phase']): void {
    this.loaded += bytes;
    const now = performance.now();
    if (now - this.last < 50) return;
    this.last = now;
    this.say(phase);
  }

  ready(): void {
    this.total = this.loaded;
    this.say('ready');
  }

  private say(phase: Progress['phase']): void {
    this.tell(progressOf(phase, this.loaded, this.total));
  }
}
