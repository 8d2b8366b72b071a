import { Header } from './engine.js';

/** The first bytes of a file, until they hold its header. */
export class Beginning {
  private pieces: Uint8Array[] = [];
  private length = 0;
  private look = 1 << 16;
  private complete = false;

  /** Of a file of `size` bytes; of unknown size, it is first assumed to be as large as one can be. */
  constructor(private expected: number | undefined) {}

  /** Bytes of the file; if they are not known, what the header tells of them. */
  get size(): number {
    return (this.expected ??= this.told());
  }

  /** Takes the next bytes; `true` once, when the header is complete. */
  push(bytes: Uint8Array): boolean {
    if (this.complete) return false;
    this.pieces.push(bytes.slice());
    this.length += bytes.length;
    const size = this.expected ?? Header.largest;
    if (this.length < Math.min(this.look, size)) return false;
    this.look = this.length * 1.5;
    this.complete = Header.complete(this.bytes, size);
    return this.complete;
  }

  private told(): number {
    const header = Header.read([this.bytes], [Header.largest]);
    const padded = header.inspect().tensors.map(({ bytes }) => Math.ceil(bytes / 32) * 32);
    header.free();
    return this.length + padded.reduce((a, b) => a + b, 0);
  }

  get bytes(): Uint8Array {
    const joined = new Uint8Array(this.length);
    let at = 0;
    for (const piece of this.pieces) {
      joined.set(piece, at);
      at += piece.length;
    }
    this.pieces = [joined];
    return joined;
  }

  header(): Header {
    const header = Header.read([this.bytes], [this.size]);
    this.pieces = [];
    return header;
  }
}
