// Markdown as it streams in: blocks that did not change keep their elements, so a selection survives and nothing flickers.
// Whatever a model writes becomes text nodes in elements made here; there is no way from its text to markup.

/** Shows `source` in `element`, and changes only what changed since the last time. */
export function show(element, source) {
  const blocks = split(source);
  blocks.forEach((block, i) => {
    const old = element.children[i];
    if (old?.source === block.source) return;
    const fresh = RENDER[block.kind](block);
    fresh.source = block.source;
    if (old) old.replaceWith(fresh);
    else element.append(fresh);
  });
  while (element.children.length > blocks.length) element.lastElementChild.remove();
}

const FENCE = /^ {0,3}(```+|~~~+)\s*([\w+#.-]*)/;
const HEADING = /^(#{1,4})\s+(.*?)\s*#*$/;
const RULE = /^ {0,3}([-*_])( *\1){2,}\s*$/;
const ITEM = /^(\s*)([-*+]|\d{1,4}[.)])\s+(.*)$/;
const ROW = /^\s*\|(.+)\|\s*$/;

/** Cuts text into blocks of lines. */
function split(source) {
  const lines = source.replace(/\r\n?/g, '\n').split('\n');
  const blocks = [];
  for (let at = 0; at < lines.length; ) {
    const [start, line] = [at, lines[at]];
    const take = (kind, more, extra) => {
      for (at += 1; at < lines.length && more(lines[at]); ) at += 1;
      blocks.push({ kind, lines: lines.slice(start, at), source: lines.slice(start, at).join('\n'), ...extra });
    };
    const fence = FENCE.exec(line);
    if (!line.trim()) at += 1;
    else if (fence) {
      let open = true;
      take('code', (next) => open && ((open = !next.trim().startsWith(fence[1])), true), { language: fence[2] });
      blocks.at(-1).closed = !open;
    } else if (HEADING.test(line)) take('heading', () => false);
    else if (RULE.test(line)) take('rule', () => false);
    else if (/^ {0,3}>/.test(line)) take('quote', (next) => /^ {0,3}>/.test(next));
    else if (ITEM.test(line)) take('list', (next) => ITEM.test(next) || /^\s{2,}\S/.test(next));
    else if (ROW.test(line)) take('table', (next) => ROW.test(next));
    else take('paragraph', (next) => next.trim() && ![FENCE, HEADING, RULE, ITEM, ROW, /^ {0,3}>/].some((other) => other.test(next)));
  }
  return blocks;
}

const RENDER = {
  paragraph: ({ lines }) => make('p', inline(lines.join('\n'))),
  heading: ({ lines }) => {
    const [, marks, text] = HEADING.exec(lines[0]);
    return make(`h${marks.length}`, inline(text));
  },
  rule: () => make('hr'),
  quote: ({ lines }) => {
    const quote = make('blockquote');
    show(quote, lines.map((line) => line.replace(/^ {0,3}> ?/, '')).join('\n'));
    return quote;
  },
  code: ({ lines, language, closed }) => {
    const text = lines.slice(1, closed ? -1 : undefined).join('\n');
    const copy = make('button', ['Copy']);
    copy.className = 'quiet';
    copy.type = 'button';
    copy.onclick = async () => {
      await navigator.clipboard.writeText(text);
      copy.textContent = 'Copied';
    };
    return make('figure', [make('figcaption', [make('span', [language || 'code']), copy]), make('pre', [make('code', [text])])]);
  },
  list: ({ lines }) => list(lines),
  table: ({ lines }) => {
    const cells = lines.map((line) => ROW.exec(line)[1].split('|').map((cell) => cell.trim()));
    const isRule = (row) => row.every((cell) => /^:?-+:?$/.test(cell));
    const head = cells.length > 1 && isRule(cells[1]);
    const rows = cells.filter((row) => !isRule(row));
    return make('table', rows.map((row, i) => make('tr', row.map((cell) => make(head && i === 0 ? 'th' : 'td', inline(cell))))));
  },
};

/** Items by their indentation; deeper lines belong to the item above. */
function list(lines) {
  const [, indent, mark] = ITEM.exec(lines[0]);
  const ordered = /\d/.test(mark);
  const items = [];
  for (const line of lines) {
    const item = ITEM.exec(line);
    if (item && item[1].length <= indent.length + 1) items.push([item[3]]);
    else items.at(-1).push(line);
  }
  const element = make(
    ordered ? 'ol' : 'ul',
    items.map(([first, ...rest]) => {
      const nested = rest.findIndex((line) => ITEM.test(line));
      const text = [first, ...(nested < 0 ? rest : rest.slice(0, nested)).map((line) => line.trim())].join(' ');
      return make('li', [...inline(text), ...(nested < 0 ? [] : [list(rest.slice(nested))])]);
    }),
  );
  if (ordered && Number.parseInt(mark) > 1) element.start = Number.parseInt(mark);
  return element;
}

const INLINE = /(`+)([\s\S]*?[^`])\1(?!`)|\*\*([\s\S]+?)\*\*|__([\s\S]+?)__|~~([\s\S]+?)~~|\*([^\s*](?:[^*]*[^\s*])?)\*|(?<!\w)_([^\s_](?:[^_]*[^\s_])?)_(?!\w)|\[([^\]]+)\]\((https?:\/\/[^\s)]+)\)|(https?:\/\/[^\s<>)\]]*[^\s<>)\].,;:!?'"])|\\([\\`*_~[\]#|])/g;

/** Nodes for the marks within a line. */
function inline(text) {
  const nodes = [];
  let at = 0;
  for (const match of text.matchAll(INLINE)) {
    const [all, , code, bold1, bold2, struck, soft1, soft2, label, target, bare, escaped] = match;
    nodes.push(text.slice(at, match.index));
    at = match.index + all.length;
    if (code !== undefined) nodes.push(make('code', [code.trim()]));
    else if (bold1 ?? bold2) nodes.push(make('strong', inline(bold1 ?? bold2)));
    else if (struck) nodes.push(make('s', inline(struck)));
    else if (soft1 ?? soft2) nodes.push(make('em', inline(soft1 ?? soft2)));
    else if (escaped) nodes.push(escaped);
    else nodes.push(link(target ?? bare, label === undefined ? [bare] : inline(label)));
  }
  nodes.push(text.slice(at));
  return nodes.filter((node) => node !== '');
}

/** Only http and https come here. */
function link(target, children) {
  const element = make('a', children);
  element.href = target;
  element.target = '_blank';
  element.rel = 'noopener noreferrer nofollow';
  return element;
}

function make(name, children = []) {
  const element = document.createElement(name);
  element.append(...children);
  return element;
}
