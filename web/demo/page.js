// The whole use of the package: load, stream, stop.
import { Mote } from '../dist/index.js';

const [form, prompt, tell, stop, file, status, story] = ['form', 'prompt', 'tell', 'stop', 'file', 'status', 'story'].map(
  (id) => document.getElementById(id),
);
let model;
let stopped = false;

async function load(source) {
  tell.disabled = true;
  try {
    const next = await Mote.load(source);
    model?.unload();
    model = next;
    const { name, architecture, parameters } = model.info;
    status.textContent = `${name ?? architecture}: ${(parameters / 1e6).toFixed(2)} million weights`;
  } catch (error) {
    status.textContent = `${error.code}: ${error.message}`;
  }
  tell.disabled = !model;
}

form.onsubmit = async (event) => {
  event.preventDefault();
  const seed = new URLSearchParams(location.search).get('seed');
  const options = { temperature: 0.6, topK: 40, maxTokens: 200, ...(seed && { seed: Number(seed) }) };
  [stopped, tell.disabled, stop.disabled, story.textContent] = [false, true, false, prompt.value];
  try {
    for await (const text of model.generate(prompt.value, options)) {
      story.append(text);
      if (stopped) break;
    }
  } catch (error) {
    status.textContent = `${error.code}: ${error.message}`;
  }
  [tell.disabled, stop.disabled] = [false, true];
};

stop.onclick = () => (stopped = true);
file.onchange = async () => load(new Uint8Array(await file.files[0].arrayBuffer()));

await load('../../models/tales-2M-Q8_0.gguf');
