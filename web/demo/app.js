// The page: its views, its colours, and the parts that it is made of.
import * as chat from './chat.js';
import * as compare from './compare.js';
import { $, memory } from './dom.js';
import * as inspect from './inspect.js';
import * as models from './models.js';
import * as settings from './settings.js';

const VIEWS = ['chat', 'inspect', 'compare'];

function view() {
  const wanted = location.hash.slice(1);
  const name = VIEWS.includes(wanted) ? wanted : 'chat';
  for (const other of VIEWS) $(other).hidden = other !== name;
  for (const link of document.querySelectorAll('nav a')) {
    if (link.hash === `#${name}`) link.setAttribute('aria-current', 'page');
    else link.removeAttribute('aria-current');
  }
  scrollTo(0, 0);
}

const prefersDark = matchMedia('(prefers-color-scheme: dark)');

function colours() {
  document.documentElement.dataset.theme = memory.load('theme', prefersDark.matches ? 'dark' : 'light');
}

colours();
prefersDark.onchange = colours;
$('theme').onclick = () => {
  memory.save('theme', document.documentElement.dataset.theme === 'dark' ? 'light' : 'dark');
  colours();
};
addEventListener('hashchange', view);
view();
for (const part of [settings, chat, inspect, compare]) part.start();
await models.start();
