// Uploads, two large ones or six small ones at a time: each can be paused, goes on where it was, and tells what it really sent.
import {button, byID, icon, make, say} from './dom.js';
import {bytes, files, plain} from './text.js';

const room = 6;
const weightOf = (file) => (file.size > 4e6 ? 3 : 1);
const shown = 50; // uploads that have ended, in the list
const quiet = 10; // seconds without an answer, after which somebody wants to know

class Upload {
  state = 'waiting'; // running, paused, stored, failed, cancelled
  done = 0;
  sent = 0; // in all attempts
  sessions = new Set();

  constructor(file, folder) {
    this.file = file;
    this.folder = folder;
    this.name = make('strong', {}, folder ? `${folder}/${file.name}` : file.name);
    this.bar = make('progress', {max: 1, value: 0, 'aria-label': `Upload of ${file.name}`});
    this.status = make('p', {className: 'quiet small'});
    this.actions = make('div', {className: 'actions'});
    this.row = make('li', {}, make('div', {className: 'grow'}, this.name, this.bar, this.status), this.actions);
  }
}

export class Uploads {
  paused = false;
  all = []; // of the round that is shown
  waiting = [];
  running = 0;

  /** client and bucket are asked for with each upload; onStored is told each file. */
  constructor({client, bucket, onStored}) {
    Object.assign(this, {client, bucket, onStored});
    byID('pause-all').onclick = () => (this.paused ? this.resumeAll() : this.pauseAll());
    byID('cancel-all').onclick = () => this.all.forEach((u) => this.cancel(u));
    byID('clear').onclick = () => this.clear();
    addEventListener('beforeunload', (e) => this.busy && e.preventDefault());
    addEventListener('online', () => this.all.filter((u) => u.offline).forEach((u) => this.resume(u)));
    setInterval(() => this.all.forEach((u) => this.watch(u)), 1000);
  }

  get busy() {
    return this.running > 0 || this.waiting.length > 0;
  }

  add(found) {
    if (found.length === 0) return;
    if (!this.busy && this.all.every((u) => u.state === 'stored' || u.state === 'cancelled')) this.clear();
    for (const {file, folder} of found) {
      const upload = new Upload(file, folder);
      this.all.push(upload);
      this.waiting.push(upload);
    }
    say(`${files(found.length)} to upload`);
    this.start();
  }

  start() {
    while (!this.paused && this.waiting.length > 0 && this.running + weightOf(this.waiting[0].file) <= room) void this.run(this.waiting.shift());
    this.tell();
  }

  async run(u) {
    this.running += weightOf(u.file);
    u.state = 'running';
    u.stop = new AbortController();
    if (!u.row.isConnected) byID('upload-list').prepend(u.row);
    u.movedAt = Date.now();
    u.offline = false;
    this.draw(u, 'Beginning…');
    const before = u.sent;
    try {
      const stored = await this.client().upload(this.bucket(), u.file, {
        folder: u.folder || undefined,
        onConflict: 'version',
        skipUnchanged: true,
        signal: u.stop.signal,
        onProgress: (p) => {
          if (p.upload) u.sessions.add(p.upload);
          u.movedAt = Date.now();
          u.sent = before + p.sent;
          u.done = Math.max(u.done, p.done);
          if (u.state === 'running') this.draw(u, working(p));
          this.tell();
        },
      });
      u.state = 'stored';
      u.done = u.file.size;
      this.draw(u, outcome(stored, u));
      u.sessions.delete([...u.sessions].at(-1)); // it is the file now
      this.forget(u);
      this.onStored(stored);
    } catch (err) {
      if (u.state === 'running') {
        u.state = 'failed';
        u.offline = !navigator.onLine;
        this.draw(u, plain(err));
        say(`${u.file.name}: ${plain(err)}`);
      }
    }
    this.running -= weightOf(u.file);
    this.start();
    if (!this.busy && !this.paused) say(byID('uploads-sum').textContent);
  }

  // watch tells why an upload does not move. The client tries again by itself meanwhile.
  watch(u) {
    const waited = Math.floor((Date.now() - u.movedAt) / 1000);
    if (u.state !== 'running' || waited < quiet) return;
    u.status.textContent = navigator.onLine ? `No answer for ${waited} seconds: trying again…` : 'You are offline. The upload goes on when you are back.';
  }

  pause(u) {
    const waited = this.waiting.indexOf(u);
    if (waited >= 0) this.waiting.splice(waited, 1);
    else if (u.state !== 'running') return;
    u.state = 'paused';
    u.stop?.abort();
    this.draw(u, `Paused at ${bytes(u.done)} of ${bytes(u.file.size)}. It goes on from there.`);
  }

  /** Uploads again: what the server has received is not sent again. */
  resume(u) {
    u.state = 'waiting';
    this.draw(u, 'Waiting…');
    this.waiting.unshift(u);
    this.start();
  }

  cancel(u) {
    if (u.state === 'stored' || u.state === 'cancelled') return;
    const waited = this.waiting.indexOf(u);
    if (waited >= 0) this.waiting.splice(waited, 1);
    u.state = 'cancelled';
    u.stop?.abort();
    this.draw(u, 'Cancelled.');
    this.forget(u);
    this.tell();
  }

  pauseAll() {
    this.paused = true;
    for (const u of this.all) if (u.state === 'running') this.pause(u);
    this.tell();
  }

  resumeAll() {
    this.paused = false;
    for (const u of this.all) if (u.state === 'paused') this.resume(u);
    this.start();
  }

  /** Takes what has ended from the list. */
  clear() {
    this.all = this.all.filter((u) => !ended(u) || (u.row.remove(), false));
    this.tell();
  }

  // forget lets the server forget what it received of an upload that was given up, or of its earlier attempts.
  forget(u) {
    const client = this.client(), bucket = this.bucket();
    for (const id of u.sessions) client.dropUpload(bucket, id).catch(() => {}); // it goes by itself after a day
    u.sessions.clear();
  }

  draw(u, status) {
    const {state, file} = u;
    u.row.className = state;
    u.bar.value = file.size === 0 ? Number(state === 'stored') : u.done / file.size;
    u.bar.hidden = state === 'stored' || state === 'cancelled';
    u.status.textContent = status;
    u.status.className = state === 'failed' ? 'small wrong' : 'quiet small';
    if (u.drawn !== state) {
      const had = u.actions.contains(document.activeElement);
      u.drawn = state;
      const does = {
        waiting: ['cancel'], running: ['pause', 'cancel'], paused: ['resume', 'cancel'], failed: ['again', 'cancel'], stored: [], cancelled: [],
      }[state];
      u.actions.replaceChildren(...does.map((what) => ({
        pause: () => button('Pause', 'pause', file.name, () => this.pause(u)),
        resume: () => button('Resume', 'play', file.name, () => this.resume(u)),
        again: () => button('Try again', 'restore', file.name, () => this.resume(u)),
        cancel: () => button('Cancel', 'close', file.name, () => this.cancel(u)),
      })[what]()));
      if (state === 'stored') u.actions.replaceChildren(icon('done'));
      if (had) (u.actions.querySelector('button') ?? byID('choose-files')).focus();
    }
    if (ended(u)) this.trim();
  }

  // trim keeps the list of a large folder short.
  trim() {
    const over = this.all.filter((u) => ended(u) && u.state !== 'failed' && u.row.isConnected).slice(0, -shown);
    for (const u of over) u.row.remove();
  }

  tell() {
    const {all} = this;
    byID('uploads').hidden = all.length === 0;
    const sum = (of) => all.reduce((n, u) => n + of(u), 0);
    const stored = sum((u) => Number(u.state === 'stored'));
    const failed = sum((u) => Number(u.state === 'failed'));
    const kept = all.filter((u) => u.state !== 'cancelled');
    const size = kept.reduce((n, u) => n + u.file.size, 0);
    const parts = [`${stored} of ${files(kept.length)} stored`, `${bytes(sum((u) => u.sent))} of ${bytes(size)} sent`];
    if (!this.busy && !failed && stored > 0 && stored === kept.length) {
      const sent = sum((u) => u.sent);
      parts.splice(0, 2, `${files(stored)} stored: ${bytes(sent)} of ${bytes(size)} sent`);
      if (sent < size * 0.95) parts.push(`${bytes(size - sent)} saved`);
    }
    if (failed) parts.push(`${failed} failed`);
    byID('uploads-sum').textContent = kept.length ? parts.join(' · ') : '';
    byID('pause-all').textContent = this.paused ? 'Resume all' : 'Pause all';
    byID('pause-all').hidden = !this.busy && !this.paused;
    byID('cancel-all').hidden = !all.some((u) => !ended(u));
    byID('clear').hidden = !all.some(ended);
  }
}

function ended(u) {
  return u.state === 'stored' || u.state === 'cancelled' || u.state === 'failed';
}

function working({phase, size, done, sent}) {
  if (phase === 'committing') return 'Finishing…';
  const there = done - sent;
  return `${bytes(done)} of ${bytes(size)}` + (there > 0 ? `: ${bytes(sent)} sent, ${bytes(there)} was there` : '');
}

function outcome(stored, u) {
  if (stored.unchanged) return `The same content was there already: ${bytes(u.sent)} of ${bytes(u.file.size)} sent.`;
  const as = stored.version > 1 ? `Stored as version ${stored.version}` : 'Stored';
  return `${as}: ${bytes(u.sent)} of ${bytes(u.file.size)} sent.`;
}
