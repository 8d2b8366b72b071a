// What run.mjs calls in the page: an engine of each kind, loaded with a model file, then timed. All choose greedily.
import { PEERS, prompt } from './peers.js';

/** MoteLM in a worker, as the package runs it. */
class Mote {
  static async load(url, { build, threads, context }) {
    const mote = new Mote();
    mote.worker = new Worker('mote.js', { type: 'module' });
    mote.info = await mote.ask({ kind: 'load', url: new URL(url, location.href).href, build, threads, context });
    return mote;
  }

  ask(request) {
    return new Promise((resolve, reject) => {
      this.worker.onmessage = ({ data }) => (data?.error ? reject(new Error(data.error)) : resolve(data));
      this.worker.onerror = (event) => reject(new Error(event.message));
      this.worker.postMessage(request);
    });
  }

  prefill(pp) {
    return this.ask({ kind: 'prefill', prompt: prompt(pp) });
  }

  decode(tg) {
    return this.ask({ kind: 'decode', tg });
  }
}

/** Several at once, each on its own, as `relaxed+relaxed`: as much as the machine has for as many threads. */
class Together {
  static async load(url, { build, ...options }) {
    const together = new Together();
    together.engines = await Promise.all(build.split('+').map((build) => Mote.load(url, { ...options, build })));
    return together;
  }

  /** The slowest one's time. */
  async all(what) {
    return Math.max(...(await Promise.all(this.engines.map(what))));
  }

  prefill(pp) {
    return this.all((engine) => engine.prefill(pp));
  }

  decode(tg) {
    return this.all((engine) => engine.decode(tg));
  }
}

const engines = {};

window.bench = {
  async load(name, url, options) {
    engines[name] = await (PEERS[name] ?? (name.includes('+') ? Together : Mote)).load(url, options);
  },
  prefill: (name, pp) => engines[name].prefill(pp),
  decode: (name, tg) => engines[name].decode(tg),
};
