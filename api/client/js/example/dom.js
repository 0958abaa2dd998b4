// Elements are made from text, never from HTML: names of files say what they like.
export const byID = (id) => document.getElementById(id);

/** Makes an element. Properties are set as they are; children are elements or text. */
export function make(tag, properties = {}, ...children) {
  const el = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.includes('-') || name === 'role') el.setAttribute(name, value);
    else el[name] = value;
  }
  el.append(...children.filter((c) => c !== undefined && c !== ''));
  return el;
}

const svg = 'http://www.w3.org/2000/svg';

export function icon(name) {
  const el = document.createElementNS(svg, 'svg');
  const use = document.createElementNS(svg, 'use');
  el.setAttribute('class', 'icon');
  el.setAttribute('aria-hidden', 'true');
  use.setAttribute('href', '#i-' + name);
  el.append(use);
  return el;
}

/** A button with a word that is seen where there is room, and a label that says what it is about. */
export function button(word, name, about, onclick, className = 'plain') {
  return make('button', {type: 'button', className, onclick, 'aria-label': `${word} ${about}`, title: word}, icon(name), make('span', {className: 'word'}, word));
}

/** Says something to those who listen to the page. */
export function say(text) {
  byID('said').textContent = text;
}

/** Shows what went wrong, or hides it. */
export function showError(text, at = byID('error')) {
  at.hidden = !text;
  at.replaceChildren(...(text ? [icon('alert'), make('span', {}, text)] : []));
}

let toastEnds;

/** Shows for a while what was done, with a way back. */
export function toast(text, word, undo) {
  clearTimeout(toastEnds);
  const hide = () => byID('toast').replaceChildren();
  const back = word && make('button', {type: 'button', onclick: () => {
    hide();
    undo();
  }}, word);
  byID('toast').replaceChildren(make('span', {}, text), ...(back ? [back] : []), make('button', {type: 'button', className: 'plain', 'aria-label': 'Hide this message', onclick: hide}, icon('close')));
  toastEnds = setTimeout(hide, back ? 15_000 : 5000);
}
