// Models that are made up for tests, from the bundled story model: one as large as one likes, and one in two files.
import { readFileSync } from 'node:fs';
import { root } from './server.mjs';

const SIZES = { 0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8 };
const Q8_0 = 8;
const F32 = 0;

/**
 * Header, size and end of a llama model of `layers` layers of about 0.7 GB each, whose weights are zeros: it counts. After a token
 * comes the next one of the vocabulary, which is what the tensors at its end say.
 */
export function large(layers) {
  const dim = 8192;
  const ff = 16384;
  const file = readFileSync(`${root}models/tales-2M-Q8_0.gguf`);
  const { metadata, end } = parse(file);
  const patch = (key, value) => file.writeUInt32LE(value, metadata.get(`llama.${key}`));
  patch('embedding_length', dim);
  patch('feed_forward_length', ff);
  patch('block_count', layers);
  patch('attention.head_count', 64);
  if (metadata.has('llama.attention.head_count_kv')) patch('attention.head_count_kv', 64);
  if (metadata.has('llama.rope.dimension_count')) patch('rope.dimension_count', dim / 64);
  for (const key of ['key_length', 'value_length']) if (metadata.has(`llama.attention.${key}`)) patch(`attention.${key}`, dim / 64);
  const block = (i) =>
    Object.entries({ attn_norm: [dim], attn_q: [dim, dim], attn_k: [dim, dim], attn_v: [dim, dim], attn_output: [dim, dim], ffn_norm: [dim], ffn_gate: [dim, ff], ffn_up: [dim, ff], ffn_down: [ff, dim] }).map(([name, shape]) => [`blk.${i}.${name}.weight`, shape]);
  const vocabulary = 1536;
  const last = [['output_norm.weight', [dim]], ['token_embd.weight', [dim, vocabulary]], ['output.weight', [dim, vocabulary]]];
  const tensors = [...Array.from({ length: layers }, (_, i) => block(i)).flat(), ...last];
  const infos = [];
  let offset = 0;
  for (const [name, shape] of tensors) {
    const type = shape.length === 1 ? F32 : Q8_0;
    const elements = shape.reduce((a, b) => a * b);
    const bytes = type === F32 ? elements * 4 : (elements / 32) * 34;
    const info = Buffer.alloc(8 + name.length + 4 + shape.length * 8 + 4 + 8);
    info.writeBigUInt64LE(BigInt(name.length), 0);
    info.write(name, 8);
    let at = info.writeUInt32LE(shape.length, 8 + name.length);
    for (const n of shape) at = info.writeBigUInt64LE(BigInt(n), at);
    at = info.writeUInt32LE(type, at);
    info.writeBigUInt64LE(BigInt(offset), at);
    infos.push(info);
    offset += Math.ceil(bytes / 32) * 32;
  }
  file.writeBigUInt64LE(BigInt(tensors.length), 8);
  const head = Buffer.concat([file.subarray(0, end), ...infos]);
  const header = Buffer.concat([head, Buffer.alloc((32 - (head.length % 32)) % 32)]);
  const norm = Buffer.from(new Float32Array(dim).fill(1).buffer);
  const rows = [0, -1].map((shift) => Buffer.concat(Array.from({ length: vocabulary }, (_, token) => unit(dim, token + shift))));
  return { header, size: header.length + offset, tail: Buffer.concat([norm, ...rows]) };
}

/** A vector in blocks of 32 numbers: all zeros, but the one at `place`. */
function unit(dim, place) {
  const row = Buffer.alloc((dim / 32) * 34);
  if (place < 0) return row;
  const block = (place >> 5) * 34;
  row.writeUInt16LE(0x3c00, block); // the block's scale: 1
  row[block + 2 + (place & 31)] = 1;
  return row;
}

/** The story model in two files, as `gguf-split` would cut it: some tensors each, metadata in the first. */
export function split() {
  const file = readFileSync(`${root}models/tales-2M-Q8_0.gguf`);
  const { metadata, end } = parse(file);
  const count = Number(file.readBigUInt64LE(8));
  const infos = [];
  let at = end;
  for (let i = 0; i < count; i++) {
    const start = at;
    at += 8 + Number(file.readBigUInt64LE(at));
    const dims = file.readUInt32LE(at);
    at += 4 + dims * 8 + 4;
    infos.push({ bytes: Buffer.from(file.subarray(start, at + 8)), offset: Number(file.readBigUInt64LE(at)) });
    at += 8;
  }
  const data = file.subarray(Math.ceil(at / 32) * 32);
  const ends = infos.map(({ offset }) => infos.map((other) => other.offset).filter((other) => other > offset).sort((a, b) => a - b)[0] ?? data.length);
  const pair = (key, type, write, bytes) => {
    const entry = Buffer.alloc(8 + key.length + 4 + bytes);
    entry.writeBigUInt64LE(BigInt(key.length), 0);
    entry.write(key, 8);
    entry.writeUInt32LE(type, 8 + key.length);
    write(entry, 12 + key.length);
    return entry;
  };
  const u16 = (key, value) => pair(key, 2, (entry, at) => entry.writeUInt16LE(value, at), 2);
  const i32 = (key, value) => pair(key, 5, (entry, at) => entry.writeInt32LE(value, at), 4);
  const half = count >> 1;
  return [infos.slice(0, half), infos.slice(half)].map((part, n) => {
    const own = n === 0 ? [file.subarray(24, end)] : [];
    const pairs = [...own, u16('split.no', n), u16('split.count', 2), i32('split.tensors.count', count)];
    const head = Buffer.from(file.subarray(0, 24));
    head.writeBigUInt64LE(BigInt(part.length), 8);
    head.writeBigUInt64LE(BigInt(3 + (n === 0 ? metadata.size : 0)), 16);
    let offset = 0;
    const weights = [];
    for (const info of part) {
      const bytes = data.subarray(info.offset, ends[infos.indexOf(info)]);
      info.bytes.writeBigUInt64LE(BigInt(offset), info.bytes.length - 8);
      offset += bytes.length;
      weights.push(bytes);
    }
    const start = Buffer.concat([head, ...pairs, ...part.map(({ bytes }) => bytes)]);
    return Buffer.concat([start, Buffer.alloc((32 - (start.length % 32)) % 32), ...weights]);
  });
}

/** Where the value of each key lies, and where the metadata end. */
function parse(file) {
  const metadata = new Map();
  let at = 24;
  const text = () => {
    const length = Number(file.readBigUInt64LE(at));
    at += 8 + length;
    return file.toString('utf8', at - length, at);
  };
  const skip = (type) => {
    if (type === 8) text();
    else if (type === 9) {
      const element = file.readUInt32LE(at);
      const count = Number(file.readBigUInt64LE(at + 4));
      at += 12;
      for (let i = 0; i < count; i++) skip(element);
    } else at += SIZES[type];
  };
  for (let left = Number(file.readBigUInt64LE(16)); left > 0; left--) {
    const key = text();
    const type = file.readUInt32LE(at);
    at += 4;
    metadata.set(key, at);
    skip(type);
  }
  return { metadata, end: at };
}
