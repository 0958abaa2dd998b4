// The files and folders of a place, and the trash.
import {ask, open, showShare, showVersions} from './dialogs.js';
import {button, byID, icon, make, say, toast} from './dom.js';
import {bytes, date} from './text.js';

/** The place that the address names: #/files/photos/2026, or #/trash. */
export function place() {
  const [kind, ...folders] = location.hash.replace(/^#\/?/, '').split('/').filter(Boolean).map(decodeURIComponent);
  return {trash: kind === 'trash', folder: folders.join('/')};
}

export function addressOf(folder) {
  return '#/files/' + folder.split('/').filter(Boolean).map(encodeURIComponent).join('/');
}

export class Listing {
  shownAt = 0;

  /** client and bucket are asked for each time; attempt runs something and tells its failure. */
  constructor({client, bucket, attempt}) {
    Object.assign(this, {client, bucket, attempt});
    byID('more').onclick = () => attempt(() => this.showMore());
  }

  /** Shows a place from its beginning. */
  async show({trash, folder}) {
    const at = ++this.shownAt;
    const query = trash ? {state: 'trashed', order: '-updated'} : {folder, delimiter: '/'};
    const page = await this.client().list(this.bucket(), query);
    if (at !== this.shownAt) return; // another place is shown meanwhile
    Object.assign(this, {query, trash, folder, cursor: page.next_cursor});
    this.crumbs();
    const had = byID('files').contains(document.activeElement) && labelOf(document.activeElement);
    byID('files').replaceChildren(...this.rows(page));
    if (had) (controls(byID('files')).find((c) => labelOf(c) === had) ?? byID('here')).focus();
    this.end();
  }

  async showMore() {
    const page = await this.client().list(this.bucket(), {...this.query, cursor: this.cursor});
    this.cursor = page.next_cursor;
    const rows = this.rows(page);
    byID('files').append(...rows);
    rows[0]?.querySelector('a, button')?.focus();
    this.end();
  }

  end() {
    const empty = byID('files').childElementCount === 0;
    byID('files').hidden = empty;
    byID('empty').hidden = !empty;
    byID('empty').textContent = this.trash ? 'The trash is empty.' : this.folder ? 'Nothing is in this folder.' : 'No files yet. Drop some above.';
    byID('more').hidden = !this.cursor;
  }

  crumbs() {
    const steps = this.trash ? [] : this.folder.split('/').filter(Boolean);
    const link = (word, href, current) => make('li', {}, current ? make('span', {'aria-current': 'page'}, word) : make('a', {href}, word));
    byID('crumbs').replaceChildren(
      link(this.trash ? 'Trash' : 'All files', addressOf(''), steps.length === 0),
      ...steps.map((step, i) => link(step, addressOf(steps.slice(0, i + 1).join('/')), i === steps.length - 1)));
    byID('here').textContent = this.trash ? 'Trash' : steps.at(-1) ?? 'All files';
    document.title = `${byID('here').textContent} · Cairn`;
  }

  rows({folders = [], files: list}) {
    return [...folders.map((path) => folderRow(path)), ...list.map((f) => (this.trash ? this.trashRow(f) : this.fileRow(f)))];
  }

  fileRow(f) {
    const row = make('li', {},
      icon('file'),
      make('div', {className: 'grow'},
        make('a', {href: f.links.view, className: 'name', onclick: (e) => {
          e.preventDefault();
          void this.attempt(() => open(this.client(), this.bucket(), f, 'view'));
        }}, f.name),
        make('p', {className: 'quiet small'}, `${bytes(f.size)} · `, make('time', {dateTime: f.updated_at}, date(f.updated_at)), f.version > 1 ? ` · version\u00a0${f.version}` : '')),
      make('div', {className: 'actions'},
        button('Save', 'download', f.name, () => this.attempt(() => open(this.client(), this.bucket(), f, 'download'))),
        button('Versions', 'history', f.name, () => this.attempt(() => showVersions(this.client(), this.bucket(), f, () => this.attempt(() => this.show(place()))))),
        button('Share', 'share', f.name, () => this.attempt(() => showShare(this.client(), this.bucket(), f))),
        button('Delete', 'trash', f.name, () => this.attempt(() => this.remove(f, row)))));
    return row;
  }

  async remove(f, row) {
    if (!(await ask(`Delete ${f.name}?`, 'It goes to the trash with all its versions, and can be taken out again.', 'Delete'))) return;
    await this.client().delete(this.bucket(), f.id);
    this.drop(row);
    toast(`${f.name} is in the trash.`, 'Undo', () => this.attempt(async () => {
      await this.client().restore(this.bucket(), f.id);
      toast(`${f.name} is back.`);
      await this.show(place());
    }));
  }

  trashRow(f) {
    const row = make('li', {},
      icon('file'),
      make('div', {className: 'grow'},
        make('strong', {className: 'name'}, f.path),
        make('p', {className: 'quiet small'}, `${bytes(f.size)} · deleted `, make('time', {dateTime: f.deleted_at}, date(f.deleted_at)))),
      make('div', {className: 'actions'},
        button('Restore', 'restore', f.name, () => this.attempt(async () => {
          await this.client().restore(this.bucket(), f.id);
          this.drop(row);
          toast(`${f.name} is back in ${f.folder || 'all files'}.`);
        })),
        button('Delete for good', 'trash', f.name, () => this.attempt(async () => {
          const what = f.versions_count > 1 ? `All ${f.versions_count} versions are` : 'It is';
          if (!(await ask(`Delete ${f.name} for good?`, `${what} gone then, and nobody can bring it back.`, 'Delete for good'))) return;
          await this.client().delete(this.bucket(), f.id, {permanent: true});
          this.drop(row);
          say(`${f.name} is gone`);
        }))));
    return row;
  }

  // drop takes a row away and keeps the focus where it was.
  drop(row) {
    const next = row.nextElementSibling ?? row.previousElementSibling;
    row.remove();
    (next?.querySelector('a, button') ?? byID('here')).focus();
    this.end();
  }
}

const controls = (el) => [...el.querySelectorAll('a, button')];
const labelOf = (control) => control.ariaLabel ?? control.textContent;

function folderRow(path) {
  const folder = path.replace(/\/$/, '');
  return make('li', {className: 'folder'}, icon('folder'), make('div', {className: 'grow'}, make('a', {href: addressOf(folder), className: 'name'}, folder.split('/').pop())));
}
