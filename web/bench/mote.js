// MoteLM's side of the bench, in a worker: loads a file in pieces and times a prompt and a generation.
let session, Did;

self.onmessage = async ({ data }) => {
  try {
    self.postMessage(await { load, prefill, decode }[data.kind](data));
  } catch (error) {
    self.postMessage({ error: String(error.stack ?? error) });
  }
};

async function load({ url, build, threads, context }) {
  const engine = await import(`../wasm/${build}/motelm_wasm.js`);
  await engine.default();
  const response = await fetch(url);
  const loader = new engine.Loader(new Float64Array([Number(response.headers.get('content-length'))]));
  const reader = response.body.getReader();
  for (let { done, value } = await reader.read(); !done; { done, value } = await reader.read()) loader.push(value);
  session = loader.finish().session(JSON.stringify({ context }));
  ({ Did } = engine);
  return { level: engine.level(), threads };
}

function prefill({ prompt }) {
  session.clear();
  const start = performance.now();
  session.start(new Uint32Array(prompt), JSON.stringify({ temperature: 0, ignoreEnd: true }));
  while (session.step(256, 4) === Did.Prefill);
  return performance.now() - start;
}

function decode({ tg }) {
  const start = performance.now();
  for (let i = 0; i < tg; i++) session.step(1, 1e6);
  return performance.now() - start;
}
