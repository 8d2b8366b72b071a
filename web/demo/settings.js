// How to generate: sliders that are kept for the next visit.
import { $, make, memory } from './dom.js';

const FIELDS = [
  { name: 'temperature', label: 'Temperature', min: 0, max: 2, step: 0.05, value: 0.7, about: 'Low: the likeliest words. High: surprises.' },
  { name: 'topK', label: 'Top K', min: 0, max: 100, step: 1, value: 40, about: 'Choose among this many tokens; 0 among all.' },
  { name: 'topP', label: 'Top P', min: 0.05, max: 1, step: 0.05, value: 0.95, about: 'Choose among tokens that hold this share of the probability.' },
  { name: 'minP', label: 'Min P', min: 0, max: 0.5, step: 0.01, value: 0.05, about: 'Leave out tokens that are this much less likely than the best.' },
  { name: 'repeatPenalty', label: 'Repeat penalty', min: 1, max: 1.5, step: 0.01, value: 1.05, about: 'Above 1, what was said lately becomes less likely.' },
  { name: 'maxTokens', label: 'Longest answer', min: 16, max: 2048, step: 16, value: 512, about: 'In tokens.' },
];

const DEFAULTS = { ...Object.fromEntries(FIELDS.map(({ name, value }) => [name, value])), system: '', seed: '', contextLength: 0 };
let values = { ...DEFAULTS, ...memory.load('settings', {}) };

/** The settings as they are now. */
export const settings = () => values;

/** The same as options of `chat` and `generate`. */
export function sampling() {
  const options = Object.fromEntries(FIELDS.map(({ name }) => [name, values[name]]));
  return values.seed === '' ? options : { ...options, seed: Number(values.seed) };
}

function set(name, value) {
  values = { ...values, [name]: value };
  memory.save('settings', values);
}

function draw() {
  const slider = ({ name, label, about, min, max, step }) => {
    const shown = make('span', { className: 'value', ariaHidden: 'true' }, String(values[name]));
    const input = make('input', { type: 'range', ariaLabel: label, min, max, step });
    // After its limits, or it is cut to the default ones.
    input.value = values[name];
    input.oninput = () => {
      set(name, Number(input.value));
      shown.textContent = input.value;
    };
    return make('label', {}, make('span', {}, label, shown), input, make('small', {}, about));
  };
  const system = make('textarea', { rows: 3, value: values.system, placeholder: 'You are a helpful assistant.' });
  system.oninput = () => set('system', system.value);
  const seed = make('input', { type: 'number', min: 0, step: 1, value: values.seed, placeholder: 'Random' });
  seed.oninput = () => set('seed', seed.value);
  const context = make('input', { type: 'number', min: 0, step: 256, value: values.contextLength || '', placeholder: 'As trained, at most 4096' });
  context.oninput = () => set('contextLength', Number(context.value) || 0);
  const reset = make('button', { type: 'button' }, 'Reset');
  reset.onclick = () => {
    values = { ...DEFAULTS };
    memory.save('settings', values);
    draw();
  };
  $('settings-form').replaceChildren(
    make('label', {}, 'Instructions', system, make('small', {}, 'What the model is told before a chat.')),
    ...FIELDS.map(slider),
    make('label', {}, 'Seed', seed, make('small', {}, 'The same seed gives the same answer.')),
    make('label', {}, 'Context', context, make('small', {}, 'Tokens to make room for; from the next model on.')),
    reset,
  );
}

/** Fills the panel and makes it open and close. */
export function start() {
  draw();
  $('settings-form').onsubmit = (event) => event.preventDefault();
  const toggle = (open) => {
    $('settings').hidden = !open;
    $('settings-button').setAttribute('aria-expanded', String(open));
    (open ? $('settings-close') : $('settings-button')).focus();
  };
  $('settings-button').onclick = () => toggle($('settings').hidden);
  $('settings-close').onclick = () => toggle(false);
  $('settings').addEventListener('keydown', ({ key }) => key === 'Escape' && toggle(false));
}
