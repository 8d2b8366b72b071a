// Small things that every part of the page uses.

export const $ = (id) => document.getElementById(id);

/** An element with properties and children; `null` children are left out. */
export function make(name, properties = {}, ...children) {
  const element = document.createElement(name);
  const { dataset, style, ...rest } = properties;
  Object.assign(element, rest);
  Object.assign(element.dataset, dataset);
  Object.assign(element.style, style);
  element.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return element;
}

export function icon(name) {
  const svg = document.createElementNS('http://www.w3.org/2000/svg', 'svg');
  svg.setAttribute('aria-hidden', 'true');
  const use = document.createElementNS('http://www.w3.org/2000/svg', 'use');
  use.setAttribute('href', `#i-${name}`);
  svg.append(use);
  return svg;
}

export function bytes(n) {
  const units = ['B', 'KB', 'MB', 'GB'];
  const power = Math.min(3, Math.floor(Math.log10(Math.max(n, 1)) / 3));
  const value = n / 1000 ** power;
  return `${value < 10 && power > 0 ? value.toFixed(1) : Math.round(value)} ${units[power]}`;
}

export function count(n) {
  if (n >= 1e9) return `${(n / 1e9).toFixed(1)} B`;
  if (n >= 1e6) return `${(n / 1e6).toFixed(n < 1e7 ? 1 : 0)} M`;
  return n.toLocaleString('en');
}

/** What went wrong, for people. */
export function explain(error) {
  const hints = {
    network: 'Check the address and the connection. The server must allow other sites to read the file (CORS).',
    memory: 'Try a smaller model, a stronger quantisation, or a shorter context in the settings.',
    file: 'This needs a complete GGUF file.',
    context: 'Start a new chat, or load the model with a longer context.',
  };
  const sentence = /[.!?]$/.test(error.message) ? error.message : `${error.message}.`;
  return [sentence, hints[error.code]].filter(Boolean).join(' ');
}

/** Kept in this browser, where it may be. */
export const memory = {
  load(key, otherwise) {
    try {
      return JSON.parse(localStorage.getItem(`motelm ${key}`)) ?? otherwise;
    } catch {
      return otherwise;
    }
  },
  save(key, value) {
    try {
      localStorage.setItem(`motelm ${key}`, JSON.stringify(value));
    } catch {
      // Private windows may have no room; then it is forgotten.
    }
  },
};
