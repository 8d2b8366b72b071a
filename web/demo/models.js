// The model of this page: choosing, loading, and what it takes.
import { Mote, hubUrl } from 'motelm';
import { $, bytes, count, explain, icon, make, memory } from './dom.js';
import { settings } from './settings.js';

const BUNDLED = [
  { url: '../../models/tales-2M-Q8_0.gguf', name: 'Tales 2M', about: 'Continues fairy tales · 2 MB' },
  { url: '../../models/tales-280K-Q8_0.gguf', name: 'Tales 280K', about: 'The same in miniature · 0.3 MB' },
];

/** Small ones on the Hugging Face hub, for a first chat and a first comparison. */
const HUB = [
  { repo: 'bartowski/SmolLM2-135M-Instruct-GGUF', file: 'SmolLM2-135M-Instruct-Q8_0.gguf', name: 'SmolLM2 135M', about: 'Chats · 145 MB' },
  { repo: 'Qwen/Qwen2.5-0.5B-Instruct-GGUF', file: 'qwen2.5-0.5b-instruct-q4_k_m.gguf', name: 'Qwen2.5 0.5B', about: 'Chats in many languages · 491 MB' },
  { repo: 'CompendiumLabs/bge-small-en-v1.5-gguf', file: 'bge-small-en-v1.5-q8_0.gguf', name: 'BGE small', about: 'Compares texts · 37 MB' },
];

let mote;
let source;
let loading;
const listeners = [];

/** The model that is loaded, if one is. */
export const model = () => mote;
/** What it was loaded from; the inspector reads the header anew. */
export const modelSource = () => source;
/** Calls `listener` whenever another model is there. */
export const onModel = (listener) => listeners.push(listener);

/** Loads a model in place of the one that is there. */
export async function load(next, { title, quietly = false } = {}) {
  loading?.abort();
  const abort = (loading = new AbortController());
  $('models-error').textContent = '';
  $('loading').hidden = false;
  $('loading-text').textContent = `Loading ${title ?? 'the model'}…`;
  $('loading-bar').removeAttribute('value');
  mark('busy', title ?? 'Loading…', '');
  if (!quietly) $('models').scrollTop = 0;
  try {
    const onProgress = ({ phase, loaded, total, ratio }) => {
      if (ratio) $('loading-bar').value = ratio;
      const how = { download: 'Downloading', cache: 'From this browser', read: 'Reading', ready: 'Starting' }[phase];
      const share = total ? `${bytes(loaded)} of ${bytes(total)}` : bytes(loaded);
      $('loading-text').textContent = `${how}: ${share}`;
      mark('busy', title ?? 'Loading…', ratio ? `${Math.floor(ratio * 100)} %` : share);
    };
    const context = settings().contextLength;
    const fresh = await Mote.load(next, { signal: abort.signal, onProgress, ...(context && { context }) });
    mote?.unload();
    [mote, source] = [fresh, next];
    if (typeof next === 'string') memory.save('model', { url: next, title });
    if ($('models').open) $('models').close();
    show();
    listeners.forEach((listener) => listener(mote));
  } catch (error) {
    show();
    if (error.code !== 'aborted') {
      $('models-error').textContent = explain(error);
      if (!$('models').open) openDialog();
    }
  } finally {
    if (loading === abort) {
      loading = undefined;
      $('loading').hidden = true;
    }
  }
}

function show() {
  if (!mote) return mark('', 'No model', 'Choose one');
  const { name, architecture, parameters, quantization } = mote.info;
  const { threads } = mote.running;
  mark('ready', name ?? architecture, `${count(parameters)} · ${quantization} · ${threads} thread${threads === 1 ? '' : 's'}`);
  $('speed').textContent = '–';
  void vitals({ used: 0 });
}

function mark(state, name, facts) {
  document.querySelector('.dot').className = `dot ${state}`;
  $('model-name').textContent = name;
  $('model-facts').textContent = facts;
}

/** Says how the model does: its speed, the memory it holds, how much of its context is used. */
export async function vitals({ speed, used } = {}) {
  if (speed !== undefined) $('speed').textContent = `${speed < 10 ? speed.toFixed(1) : Math.round(speed)} t/s`;
  if (used !== undefined) $('context').textContent = `${Math.min(used, mote.info.context)} / ${mote.info.context}`;
  $('memory').textContent = bytes(await mote.heldMemory().catch(() => 0));
}

/** What was typed as an address: a URL, or `owner/repo/file.gguf` on the hub. */
export function address(text) {
  const hub = /^([\w.-]+\/[\w.-]+)\/([\w./-]+\.gguf)$/.exec(text.trim());
  return hub ? { repo: hub[1], file: hub[2] } : text.trim();
}

const title = (url) => decodeURIComponent(new URL(url, location.href).pathname.split('/').at(-1));

async function openDialog() {
  $('models').showModal();
  await listKept();
}

async function listKept() {
  const kept = await Mote.cache.list();
  $('kept-title').hidden = kept.length === 0;
  $('kept').replaceChildren(
    ...kept.map(({ url, size, stored, complete }) => {
      const state = complete ? `${bytes(size)} · ready offline` : `${bytes(stored)} of ${bytes(size)} · goes on where it stopped`;
      const open = make('button', { className: 'quiet open', onclick: () => load(url, { title: title(url) }) }, make('b', {}, title(url)), make('small', {}, state));
      const forget = async () => (await Mote.cache.delete(url), await listKept());
      return make('li', {}, open, make('button', { className: 'icon', ariaLabel: `Forget ${title(url)}`, onclick: forget }, icon('delete')));
    }),
  );
}

/** Makes the dialog work, and loads the model of the last visit or the one that comes with the page. */
export function start() {
  const card = ({ url, name, about }) => {
    const button = make('button', { onclick: () => load(new URL(url, location.href).href, { title: name }) }, make('b', {}, name), make('small', {}, about));
    return make('li', {}, button);
  };
  $('bundled').append(...BUNDLED.map(card));
  $('hub').append(...HUB.map((file) => card({ url: hubUrl(file), ...file })));
  $('model-button').onclick = openDialog;
  $('models-close').onclick = () => $('models').close();
  $('models').addEventListener('click', ({ target }) => target === $('models') && $('models').close());
  $('loading-stop').onclick = () => loading?.abort();
  $('url-form').onsubmit = (event) => {
    event.preventDefault();
    const given = address($('url').value);
    void load(given, { title: typeof given === 'string' ? undefined : given.file });
  };
  $('plan').onclick = async () => {
    if (!$('url').reportValidity()) return;
    $('plan-result').textContent = 'Reading the header…';
    try {
      const context = settings().contextLength;
      const { info, memory, fits, reason } = await Mote.plan(address($('url').value), { ...(context && { context }) });
      const what = info ? `${info.name ?? info.architecture}, ${count(info.parameters)} weights in ${info.quantization}, ${bytes(info.bytes)}.` : '';
      $('plan-result').textContent = fits ? `Fits. ${what} Takes ${bytes(memory.total)} of memory.` : `Does not fit. ${what} ${reason}`;
    } catch (error) {
      $('plan-result').textContent = explain(error);
    }
  };
  const take = (files) => files.length && load(files.length === 1 ? files[0] : [...files].sort((a, b) => a.name.localeCompare(b.name)), { title: files[0].name });
  $('file').onchange = () => void take($('file').files);
  for (const name of ['dragenter', 'dragover']) addEventListener(name, (event) => (event.preventDefault(), $('drop').classList.add('over')));
  for (const name of ['dragleave', 'drop']) addEventListener(name, () => $('drop').classList.remove('over'));
  addEventListener('drop', (event) => (event.preventDefault(), take(event.dataTransfer.files)));

  const last = memory.load('model', { url: new URL(BUNDLED[0].url, location.href).href, title: BUNDLED[0].name });
  return load(last.url, { title: last.title, quietly: true });
}
