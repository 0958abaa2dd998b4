// The pages with upload widgets of others, as somebody who copies them sees them.
import assert from 'node:assert/strict';
import {execFile} from 'node:child_process';
import {join} from 'node:path';
import {test} from 'node:test';
import {promisify} from 'node:util';
import {writeFile} from 'node:fs/promises';
import {Client} from '../dist/index.js';
import {random} from '../test/inputs.js';
import {bytesOf, proxy, serve} from '../test/server.js';
import {browser, copy, tab, tree, vite} from './site.js';

const MiB = 1 << 20;

test('the recipes upload what is missing, pause, go on, undo and send a form', async (t) => {
  const server = await serve(t);
  const between = await proxy(t, server);
  const app = await copy(t, 'recipes');
  await promisify(execFile)('npm', ['install', '--no-audit', '--no-fund', '--ignore-scripts'], {cwd: app});
  await promisify(execFile)(process.execPath, ['node_modules/vite/bin/vite.js', 'build', '--logLevel', 'warn'], {cwd: app});
  const url = await vite(t, app, between, 'preview');
  const client = new Client({server: server.url});
  const content = random('recipe', 6 * MiB);
  const dir = await tree(t, {'film.bin': content, 'notes.txt': 'notes'});
  const film = join(dir, 'film.bin');
  const wrong = [];
  const page = await tab(t, await browser(t), url, wrong);
  const workers = [];
  page.on('worker', (w) => workers.push(w.url()));
  const stored = async (path, want) => {
    const file = await client.statPath('demo', path);
    assert.ok((await bytesOf(await client.download('demo', file.id))).equals(Buffer.from(want)), path);
    return file;
  };

  // Uppy, with what Cairn's client sends. Paused, and gone on with.
  await page.click('a[href="/uppy.html"]');
  let held;
  await page.route('**/chunks', async (route) => {
    await (held ??= page.click('.uppy-StatusBar-actions [title="Pause"]', {timeout: 30_000}).catch(() => undefined));
    await route.continue().catch(() => undefined);
  });
  await page.setInputFiles('.uppy-Dashboard-input >> nth=0', film);
  await page.click('.uppy-StatusBar-actionBtn--upload');
  await page.click('.uppy-StatusBar-actions [title="Resume"]');
  await page.waitForSelector('text=Stored: film.bin, version 1');
  await page.unroute('**/chunks');
  await stored('film.bin', content);
  assert.ok(workers.some((w) => w.includes('worker')), 'it was cut in a worker');
  const before = between.seen.chunkBytes;
  const changed = Buffer.from(content);
  changed.fill(1, MiB, 2 * MiB);
  await writeFile(film, changed);
  await page.reload();
  await page.setInputFiles('.uppy-Dashboard-input >> nth=0', film);
  await page.click('.uppy-StatusBar-actionBtn--upload');
  await page.waitForSelector('text=Stored: film.bin, version 2');
  await stored('film.bin', changed);
  assert.ok(between.seen.chunkBytes - before < 1.5 * MiB, `${between.seen.chunkBytes - before} bytes sent for 1 MiB changed`);

  // Uppy with tus, which makes a file of its own of a name that is taken.
  await page.goto(url + '/uppy-tus.html');
  await page.setInputFiles('.uppy-Dashboard-input >> nth=0', join(dir, 'notes.txt'));
  await page.click('.uppy-StatusBar-actionBtn--upload');
  await page.waitForSelector('text=Stored: notes.txt');
  await stored('notes.txt', 'notes');

  // FilePond shows what is there, uploads, undoes, and its form has the ID.
  await page.goto(url + '/filepond.html');
  await page.waitForSelector('.filepond--file-info-main >> text=film.bin');
  await page.waitForSelector('.filepond--file-info-main >> text=notes.txt');
  await writeFile(join(dir, 'pond.bin'), random('pond', 2 * MiB));
  await page.setInputFiles('.filepond--browser', join(dir, 'pond.bin'));
  await page.waitForSelector('.filepond--item[data-filepond-item-state="processing-complete"]');
  const pond = await stored('pond.bin', random('pond', 2 * MiB));
  await page.click('text=Send the form');
  await page.waitForSelector(`#said >> text=${pond.id}`);
  await page.click('.filepond--action-revert-item-processing');
  await assert.rejects(async () => {
    for (;;) await client.stat('demo', pond.id, {trashed: true});
  }, (err) => err.code === 'file-not-found');
  assert.deepEqual(wrong, []);
});
