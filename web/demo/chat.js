// The conversation: what was said, what is being said, and saying it again.
import { $, explain, icon, make, memory } from './dom.js';
import { show } from './markdown.js';
import { model, onModel, vitals } from './models.js';
import { sampling, settings } from './settings.js';

const IDEAS = {
  story: ['Once upon a time', 'There was once a king who had three daughters', 'In the middle of a great forest'],
  chat: ['Explain black holes to a child', 'Write a haiku about dust', 'Give me three ideas for a rainy Sunday'],
};

/** `{ role, content, story?, note? }`, oldest first. */
let messages = memory.load('messages', []);
let generation;

const tells = () => model() && !model().info.chat;

/** Sends a message, and shows the answer as it comes. */
async function send(text) {
  messages.push({ role: 'user', content: text });
  $('messages').append(draw(messages.at(-1), messages.length - 1));
  await answer();
}

async function answer() {
  const mote = model();
  // A model without a chat template knows no conversations: it continues the last thing that was said.
  const story = tells();
  const asked = messages.filter(({ content }) => content !== '').map(({ role, content }) => ({ role, content }));
  const system = settings().system.trim();
  const reply = { role: 'assistant', content: '', ...(story && { story: asked.at(-1).content }) };
  messages.push(reply);
  const item = draw(reply, messages.length - 1);
  $('messages').append(item);
  item.classList.add('busy');
  $('hello').hidden = true;
  busy(true);
  follow(true);
  generation = story ? mote.generate(asked.at(-1).content, sampling()) : mote.chat(system ? [{ role: 'system', content: system }, ...asked] : asked, sampling());
  const began = performance.now();
  let [first, pieces, drawn] = [0, 0, false];
  const redraw = () => {
    drawn = false;
    if (!generation) return; // The end was drawn already.
    render(item, reply);
    follow();
    if (pieces > 1) void vitals({ speed: ((pieces - 1) * 1000) / (performance.now() - first) });
  };
  try {
    for await (const piece of generation) {
      reply.content += piece;
      first ||= performance.now();
      pieces += 1;
      if (!drawn) requestAnimationFrame(redraw);
      drawn = true;
    }
    const { usage, timings, stopReason } = await generation.result;
    const tokens = usage.completionTokens;
    reply.note = `${tokens} tokens · ${timings.tokensPerSecond.toFixed(timings.tokensPerSecond < 10 ? 1 : 0)} per second · first after ${Math.round(timings.promptMs)} ms`;
    if (stopReason === 'context') reply.note += ' · the context is full';
    if (stopReason === 'length') reply.note += ' · longest answer reached';
    await vitals({ speed: timings.tokensPerSecond, used: usage.promptTokens + tokens });
    $('said').textContent = `Answer complete: ${reply.content}`;
  } catch (error) {
    reply.note = error.code === 'aborted' ? `stopped after ${((performance.now() - began) / 1000).toFixed(1)} s` : explain(error);
    reply.failed = error.code !== 'aborted';
    $('said').textContent = reply.note;
  } finally {
    generation = undefined;
    item.classList.remove('busy');
    // A new chat may have begun meanwhile.
    if (item.isConnected) item.replaceWith(draw(reply, messages.length - 1));
    busy(false);
    memory.save('messages', messages);
    follow();
  }
}

/** Says the last answer anew. */
async function again() {
  while (messages.at(-1)?.role === 'assistant') messages.pop();
  drawAll();
  await answer();
}

function draw(message, index) {
  const { role, content, story, note, failed } = message;
  const item = make('li');
  if (role === 'user') {
    // In a story it is the beginning, which is told with the rest.
    if (messages[index + 1]?.story !== undefined || (!messages[index + 1] && tells())) item.hidden = true;
    item.append(make('span', { className: 'hidden' }, 'You: '), make('div', { className: 'mine' }, content));
  } else {
    if (story !== undefined) item.className = 'story';
    item.append(make('span', { className: 'hidden' }, 'Answer: '), make('div', { className: 'text' }));
    render(item, message);
    if (note) {
      const copy = make('button', { className: 'quiet', type: 'button' }, icon('copy'), 'Copy');
      copy.onclick = async () => {
        await navigator.clipboard.writeText((story ?? '') + content);
        copy.lastChild.textContent = 'Copied';
      };
      const last = index === messages.length - 1;
      const retry = last && make('button', { className: 'quiet', type: 'button', onclick: again }, icon('again'), 'Again');
      item.append(make('div', { className: 'foot' }, copy, retry || null, make('span', { className: failed ? 'error' : '' }, note)));
    }
  }
  return item;
}

function render(item, { content, story }) {
  const text = item.querySelector('.text');
  if (story === undefined) show(text, content);
  else text.replaceChildren(make('span', { className: 'opening' }, story), content);
}

function drawAll() {
  $('messages').replaceChildren(...messages.map(draw));
  $('hello').hidden = messages.length > 0;
}

/** Stays at the end, unless the reader has gone back up. */
function follow(always = false) {
  const scroll = $('scroll');
  if (always || scroll.scrollHeight - scroll.scrollTop - scroll.clientHeight < 120) scroll.scrollTop = scroll.scrollHeight;
}

function busy(yes) {
  // The focus goes where the next press makes sense.
  const focused = [$('send'), $('stop')].includes(document.activeElement);
  $('send').hidden = yes;
  $('stop').hidden = !yes;
  if (focused) (yes ? $('stop') : $('prompt')).focus();
  ready();
}

function ready() {
  $('send').disabled = !model() || generation !== undefined || $('prompt').value.trim() === '';
}

function greet(mote) {
  const { embedding } = mote.info;
  $('hello-title').textContent = embedding ? 'This model compares texts' : tells() ? 'How does the story begin?' : 'What is on your mind?';
  $('hello-text').textContent = embedding
    ? 'It makes vectors instead of text. See Compare.'
    : tells()
      ? 'A small model that tells fairy tales goes on from your words. Choose a larger one to chat.'
      : 'The model runs in this page. What you write stays here.';
  $('prompt').placeholder = tells() ? 'How does it begin?' : 'Message';
  const ideas = embedding ? [] : IDEAS[tells() ? 'story' : 'chat'];
  $('ideas').replaceChildren(...ideas.map((idea) => make('button', { type: 'button', onclick: () => generation || send(idea) }, idea)));
  ready();
}

function grow() {
  $('prompt').style.height = 'auto';
  $('prompt').style.height = `${$('prompt').scrollHeight}px`;
}

/** Makes the conversation work. */
export function start() {
  drawAll();
  onModel((mote) => {
    greet(mote);
    drawAll();
    follow(true);
  });
  $('prompt').oninput = () => (grow(), ready());
  $('prompt').onkeydown = (event) => {
    if (event.key !== 'Enter' || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    $('composer').requestSubmit();
  };
  $('composer').onsubmit = (event) => {
    event.preventDefault();
    const text = $('prompt').value.trim();
    if (!text || $('send').disabled) return;
    $('prompt').value = '';
    grow();
    void send(text);
  };
  $('stop').onclick = () => stop();
  addEventListener('keydown', (event) => event.key === 'Escape' && !$('models').open && stop());
  $('new-chat').onclick = () => {
    stop();
    messages = [];
    memory.save('messages', messages);
    drawAll();
    $('prompt').focus();
  };
}

function stop() {
  generation?.stop();
}
