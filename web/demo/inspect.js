// What is in a file: its facts, its metadata, its tensors.
import { Mote } from 'motelm';
import { $, bytes, count, explain, make } from './dom.js';
import { address, modelSource, onModel } from './models.js';

const COLOURS = ['#d98a1f', '#4c8fa8', '#7c9a4d', '#a86a9a', '#c65d4b', '#8a8178'];

let shown;

async function inspect(source) {
  $('inspect-error').textContent = '';
  const latest = (shown = source);
  $('inspection').setAttribute('aria-busy', 'true');
  try {
    const found = await Mote.inspect(source);
    if (shown === latest) draw(found);
  } catch (error) {
    if (shown !== latest) return;
    $('inspection').replaceChildren();
    $('inspect-error').textContent = explain(error);
  } finally {
    $('inspection').removeAttribute('aria-busy');
  }
}

function draw({ info, metadata, tensors }) {
  const facts = {
    Name: info.name ?? '–',
    Architecture: info.architecture,
    Weights: count(info.parameters),
    'Stored as': info.quantization,
    Size: bytes(info.bytes),
    Layers: info.layers,
    Dimensions: info.dimensions.toLocaleString('en'),
    Vocabulary: info.vocabulary.toLocaleString('en'),
    'Trained for': `${info.trainedContext.toLocaleString('en')} tokens`,
    'Chat template': info.chat ? 'yes' : 'no',
    Makes: info.embedding ? 'vectors' : 'text',
    Licence: info.license ?? '–',
  };
  $('inspection').replaceChildren(
    make('dl', { className: 'tiles' }, Object.entries(facts).map(([name, value]) => make('div', {}, make('dt', {}, name), make('dd', {}, String(value))))),
    ...shares(tensors),
    table('Metadata', ['Key', 'Value'], Object.entries(metadata).map(([key, value]) => [key, plain(value)])),
    table('Tensors', ['Name', 'Type', 'Shape', 'Bytes'], tensors.map(({ name, type, shape, bytes }) => [name, type, shape.join(' × '), bytes])),
  );
}

/** How many bytes each type of tensor takes. */
function shares(tensors) {
  const sums = new Map();
  for (const { type, bytes } of tensors) sums.set(type, (sums.get(type) ?? 0) + bytes);
  const sorted = [...sums].sort((a, b) => b[1] - a[1]);
  const colour = (i) => COLOURS[Math.min(i, COLOURS.length - 1)];
  return [
    make('div', { className: 'share', ariaHidden: 'true' }, sorted.map(([, sum], i) => make('i', { style: { flexGrow: sum, background: colour(i) } }))),
    make('ul', { className: 'legend' }, sorted.map(([type, sum], i) => make('li', {}, make('i', { style: { background: colour(i) } }), `${type} ${bytes(sum)}`))),
  ];
}

function plain(value) {
  if (value !== null && typeof value === 'object') return `${value.length.toLocaleString('en')} elements: ${value.first.map((item) => JSON.stringify(item)).join(', ')}${value.length > value.first.length ? ', …' : ''}`;
  return String(value);
}

/** A table that unfolds, with a field to search in it. */
function table(title, heads, rows) {
  const cell = (value) => (typeof value === 'number' ? make('td', { className: 'number' }, value.toLocaleString('en')) : make('td', {}, value));
  const body = make('tbody', {}, rows.map((row) => make('tr', {}, row.map(cell))));
  const filter = make('input', { type: 'search', placeholder: `Find in ${title.toLowerCase()}`, ariaLabel: `Find in ${title.toLowerCase()}` });
  filter.oninput = () => {
    const wanted = filter.value.toLowerCase();
    for (const row of body.rows) row.hidden = !row.textContent.toLowerCase().includes(wanted);
  };
  const head = make('thead', {}, make('tr', {}, heads.map((name, i) => make('th', { scope: 'col', className: typeof rows[0]?.[i] === 'number' ? 'number' : '' }, name))));
  const scroll = make('div', { className: 'scroll', tabIndex: 0, role: 'region', ariaLabel: title }, make('table', { className: 'facts' }, head, body));
  return make('details', { open: title === 'Metadata' }, make('summary', {}, `${title} (${rows.length})`), make('div', { className: 'filter' }, filter), scroll);
}

export function start() {
  $('inspect-form').onsubmit = (event) => {
    event.preventDefault();
    if ($('inspect-url').value.trim()) void inspect(address($('inspect-url').value));
  };
  $('inspect-file').onchange = () => {
    const [file] = $('inspect-file').files;
    if (file) void inspect(file);
  };
  // The model that runs is the first thing to look at.
  onModel(() => inspect(modelSource()));
}
