// A question before something is deleted, the versions of a file, and links to it.
import {button, byID, make, say, showError} from './dom.js';
import {bytes, date, plain} from './text.js';

/** Asks, and resolves to whether the answer was yes. */
export function ask(title, text, yes) {
  const dialog = byID('ask');
  byID('ask-title').textContent = title;
  byID('ask-text').textContent = text;
  byID('ask-yes').textContent = yes;
  dialog.returnValue = '';
  dialog.showModal();
  return new Promise((resolve) => dialog.addEventListener('close', () => resolve(dialog.returnValue === 'yes'), {once: true}));
}

/** Opens a file's content in a tab, or saves it. A tab sends no token, so it gets a link that ends soon. */
export async function open(client, bucket, file, operation) {
  const {url} = await client.sign(bucket, file.manifest_id, {operation, expires_in: '5m', filename: operation === 'download' ? file.name : undefined});
  make('a', {href: url, target: operation === 'view' ? '_blank' : '', rel: 'noopener'}).click();
}

/** Shows the versions of a file. onChange is called at the end if another became the current one. */
export async function showVersions(client, bucket, file, onChange) {
  const dialog = byID('versions');
  const error = dialog.querySelector('.error');
  byID('versions-title').textContent = `Versions of ${file.name}`;
  byID('version-list').replaceChildren(make('li', {className: 'quiet'}, 'Loading…'));
  dialog.showModal();
  let changed = false;
  dialog.addEventListener('close', () => changed && onChange(), {once: true});
  const attempt = inDialog(error);
  const draw = async () => {
    const list = await client.versions(bucket, file.id);
    byID('version-list').replaceChildren(...list.map((v, i) => make('li', {},
      make('div', {className: 'grow'},
        make('strong', {}, `Version ${v.version}`), i === 0 ? make('span', {className: 'tag'}, 'current') : '',
        make('p', {className: 'quiet small'}, make('time', {dateTime: v.created_at}, date(v.created_at)), ` · ${bytes(v.size)}`)),
      make('div', {className: 'actions'},
        button('Open', 'file', `version ${v.version}`, () => attempt(() => open(client, bucket, v, 'view'))),
        i === 0 ? '' : button('Restore', 'restore', `version ${v.version}`, () => attempt(async () => {
          await client.restoreVersion(bucket, file.id, v.version);
          await draw();
          changed = true;
          say(`Version ${v.version} of ${file.name} is the current one again`);
          byID('versions').querySelector('#version-list button').focus();
        }))))));
  };
  await attempt(draw);
}

// inDialog returns a function that runs something and tells in the dialog what goes wrong.
function inDialog(error) {
  showError('', error);
  return async (what) => {
    try {
      showError('', error);
      await what();
    } catch (err) {
      showError(plain(err), error);
    }
  };
}

const lives = [[3600, '1 hour'], [86400, '1 day'], [7 * 86400, '7 days'], [30 * 86400, '30 days'], [365 * 86400, '1 year']];

/** Makes links to a file that open without a token, and ends them. */
export async function showShare(client, bucket, file) {
  const dialog = byID('share');
  const error = dialog.querySelector('.error');
  byID('share-title').textContent = `Share ${file.name}`;
  byID('share-made').hidden = true;
  byID('share-open').hidden = true;
  byID('share-for').replaceChildren();
  dialog.showModal();
  const attempt = inDialog(error);
  const drawOpen = async () => {
    const grants = (await client.grants(bucket)).filter((g) => g.file === file.id && Date.parse(g.expires_at) > Date.now());
    byID('share-open').hidden = grants.length === 0;
    byID('share-list').replaceChildren(...grants.map((g) => make('li', {},
      make('p', {className: 'grow small'}, `${g.operation === 'view' ? 'Shows' : 'Saves'} the file until `, make('time', {dateTime: g.expires_at}, date(g.expires_at))),
      button('End', 'close', `the link that ends ${date(g.expires_at)}`, () => attempt(async () => {
        await client.revoke(bucket, g.id);
        byID('share-made').hidden = true;
        await drawOpen();
      })))));
  };
  byID('share-form').onsubmit = (e) => {
    e.preventDefault();
    void attempt(async () => {
      const {url} = await client.sign(bucket, file.id, {operation: byID('share-how').value, expires_in: Number(byID('share-for').value)});
      byID('share-url').value = url;
      byID('share-made').hidden = false;
      byID('share-copy').textContent = 'Copy';
      byID('share-copy').focus();
      await drawOpen();
    });
  };
  byID('share-copy').onclick = async () => {
    byID('share-url').select();
    try {
      await navigator.clipboard.writeText(byID('share-url').value);
    } catch {
      document.execCommand('copy'); // pages that are not secure have no other way
    }
    byID('share-copy').textContent = 'Copied';
  };
  await attempt(async () => {
    const {signed_url_ttl: longest} = await client.capabilities(bucket);
    const possible = lives.filter(([seconds]) => seconds <= longest);
    byID('share-for').replaceChildren(...possible.map(([seconds, word]) => new Option(word, String(seconds), seconds === 86400, seconds === 86400)));
    await drawOpen();
  });
}
