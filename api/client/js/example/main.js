// A page to keep files on: sign in, drop, walk through folders, go back to versions, share, delete and undo.
import {byID, showError} from './dom.js';
import {addressOf, Listing, place} from './listing.js';
import {connect, session} from './session.js';
import {plain} from './text.js';
import {ofDrop, ofInput} from './tree.js';
import {Uploads} from './uploads.js';

let clients = connect();

/** Runs something, and tells what goes wrong in words. */
async function attempt(what) {
  try {
    showError('');
    await what();
  } catch (err) {
    if (err?.status === 401) askToSignIn(session.token ? plain(err) : '');
    else showError(plain(err));
  }
}

const bucket = () => session.bucket;
const listing = new Listing({client: () => clients.page, bucket, attempt});
const uploads = new Uploads({client: () => clients.uploads, bucket, onStored: refreshSoon});

// A folder of many files is listed once a second while it arrives.
let refreshing;
function refreshSoon() {
  refreshing ??= setTimeout(() => {
    refreshing = undefined;
    if (!place().trash && !document.querySelector('dialog[open]')) void attempt(() => listing.show(place()));
  }, 1000);
}

async function show() {
  const at = place();
  for (const link of byID('places').children) {
    if (link.hash.startsWith('#/trash') === at.trash) link.setAttribute('aria-current', 'page');
    else link.removeAttribute('aria-current');
  }
  await attempt(async () => {
    await listing.show(at);
    byID('bucket').textContent = session.bucket;
    byID('sign-in').hidden = true;
    byID('files-page').hidden = false;
    byID('places').hidden = false;
    byID('sign-out').hidden = !session.token;
    byID('go-sign-in').hidden = Boolean(session.token); // somebody nameless may see something here, or all with --dev
    byID('drop').hidden = at.trash;
  });
}

function askToSignIn(why) {
  showError(why);
  byID('files-page').hidden = true;
  byID('places').hidden = true;
  byID('sign-out').hidden = true;
  byID('go-sign-in').hidden = true;
  byID('sign-in').hidden = false;
  byID('in-bucket').value = session.bucket;
  byID('token').value = '';
  byID('token').focus();
}

byID('sign-in').onsubmit = (e) => {
  e.preventDefault();
  session.signIn(byID('token').value.trim(), byID('in-bucket').value);
  clients = connect();
  void show();
};

byID('go-sign-in').onclick = () => askToSignIn('');
byID('sign-out').onclick = () => {
  uploads.all.forEach((u) => uploads.cancel(u));
  uploads.clear();
  session.signOut();
  clients = connect();
  askToSignIn('');
};

// Files from the two pickers, and by drag and drop. They go to the folder that is shown.
const upload = (found) => {
  const {folder} = place();
  uploads.add(found.map((f) => ({...f, folder: [folder, f.folder].filter(Boolean).join('/')})));
};
for (const [choose, input] of [['choose-files', 'files-input'], ['choose-folder', 'folder-input']]) {
  byID(choose).onclick = () => byID(input).click();
  byID(input).onchange = () => {
    upload(ofInput(byID(input)));
    byID(input).value = '';
  };
}
let over = 0;
const dragging = (by) => {
  over = Math.max(0, over + by);
  byID('drop').classList.toggle('over', over > 0);
};
const ofFiles = (e) => e.dataTransfer?.types.includes('Files') && !byID('files-page').hidden && !place().trash;
addEventListener('dragenter', (e) => ofFiles(e) && dragging(1));
addEventListener('dragleave', (e) => ofFiles(e) && dragging(-1));
addEventListener('dragover', (e) => ofFiles(e) && e.preventDefault());
addEventListener('drop', (e) => {
  if (!ofFiles(e)) return;
  e.preventDefault();
  dragging(-over);
  void attempt(async () => upload(await ofDrop(e.dataTransfer)));
});

addEventListener('hashchange', async () => {
  await show();
  byID('here').focus();
});
if (!location.hash) history.replaceState(null, '', addressOf(''));
await show();
