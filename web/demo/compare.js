// How near texts are to each other: the cosines of their vectors, as a coloured matrix.
import { $, explain, make } from './dom.js';
import { model, onModel } from './models.js';

async function compare() {
  const texts = $('texts').value.split('\n').map((line) => line.trim()).filter(Boolean);
  if (texts.length < 2) return say('Two texts are needed at least.');
  if (!model()?.info.embedding) return hint();
  say('Reading…');
  try {
    const began = performance.now();
    const vectors = await model().embed(texts);
    draw(texts, vectors.map((a) => vectors.map((b) => a.reduce((sum, x, i) => sum + x * b[i], 0))));
    say(`${texts.length} vectors of ${vectors[0].length} numbers in ${Math.round(performance.now() - began)} ms.`);
  } catch (error) {
    say(explain(error));
  }
}

function draw(texts, cosines) {
  // Most models call unrelated texts rather similar, so the colours span what there is.
  const others = cosines.flatMap((row, i) => row.filter((_, j) => j !== i));
  const [low, high] = [Math.min(...others), Math.max(...others)];
  const cell = (cosine, i, j) => {
    const strength = i === j ? 1 : (cosine - low) / (high - low || 1);
    const title = `${texts[i]} · ${texts[j]}`;
    const background = `color-mix(in oklab, var(--accent-ground) ${Math.round(8 + 92 * strength)}%, var(--sunken))`;
    return make('td', { title, style: { background, color: strength > 0.6 ? 'var(--on-accent)' : 'var(--text)' } }, cosine.toFixed(2));
  };
  const head = make('thead', {}, make('tr', {}, make('td'), texts.map((text, i) => make('th', { scope: 'col', title: text }, String(i + 1)))));
  const row = (cosines, i) => make('tr', {}, make('th', { scope: 'row', title: texts[i] }, make('i', {}, String(i + 1)), texts[i]), cosines.map((cosine, j) => cell(cosine, i, j)));
  const caption = make('caption', { className: 'hidden' }, 'Similarity of each pair of texts');
  $('matrix').replaceChildren(make('table', { className: 'matrix' }, caption, head, make('tbody', {}, cosines.map(row))));
}

function say(text) {
  $('compare-hint').textContent = text;
}

function hint() {
  if (model()?.info.embedding) return say('');
  const choose = make('button', { type: 'button', className: 'quiet' }, 'Choose one');
  choose.onclick = () => $('model-button').click();
  $('compare-hint').replaceChildren('This needs a model for embeddings, such as bge-small or EmbeddingGemma. ', choose);
}

export function start() {
  $('compare-form').onsubmit = (event) => {
    event.preventDefault();
    void compare();
  };
  onModel(hint);
}
