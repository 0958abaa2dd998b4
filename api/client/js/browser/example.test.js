// The example page, as somebody who tries it sees it.
import assert from 'node:assert/strict';
import {mkdir, symlink, writeFile} from 'node:fs/promises';
import {join} from 'node:path';
import {test} from 'node:test';
import {random} from '../test/inputs.js';
import {proxy, serve, token} from '../test/server.js';
import {browser, build, copy, root, tab, tree, vite} from './site.js';

const MiB = 1 << 20;

const row = (name) => `#files li:has-text(${JSON.stringify(name)})`;
const sum = (page, text) => page.waitForFunction((text) => document.getElementById('uploads-sum').textContent.replaceAll('\u00a0', ' ').includes(text), text);

async function signIn(page, who) {
  await page.click('#go-sign-in');
  await page.fill('#token', who);
  await page.keyboard.press('Enter');
}

test('the example works as its README says, with npx vite: it cuts in a worker', async (t) => {
  const server = await serve(t);
  const app = await copy(t, 'example');
  await mkdir(join(app, 'node_modules', '@cairn-store'), {recursive: true});
  await symlink(root, join(app, 'node_modules', '@cairn-store', 'client'));
  await symlink(join(root, 'node_modules', 'vite'), join(app, 'node_modules', 'vite'));
  const url = await vite(t, app, server);
  const dir = await tree(t, {'large.bin': random('dev', 5 * MiB)});
  const wrong = [], workers = [];
  const page = await (await browser(t)).newPage();
  page.on('worker', (w) => workers.push(w.url()));
  page.on('response', (r) => r.status() >= 400 && wrong.push(`${r.status()} ${r.url()}`));
  page.on('console', (m) => m.type() === 'error' && wrong.push(m.text()));
  await page.goto(url);
  await page.setInputFiles('#files-input', join(dir, 'large.bin'));
  await sum(page, '1 file stored: 5.2 MB of 5.2 MB sent');
  assert.ok(workers.some((w) => w.includes('worker.js')), 'it was cut in a worker');
  assert.deepEqual(wrong, []);
});

test('a packed client cuts in a worker with npx vite and no setting', async (t) => {
  const url = await vite(t, await build(t, 'browser/page'), {url: ''});
  const server = await serve(t, {users: true, origins: [url]});
  const dir = await tree(t, {'large.bin': random('packed', 3 * MiB)});
  const wrong = [], workers = [];
  const page = await tab(t, await browser(t), url, wrong);
  page.on('worker', (w) => workers.push(w.url()));
  await page.exposeFunction('getToken', () => token('ann'));
  await page.waitForFunction(() => window.ready);
  await page.setInputFiles('#file', join(dir, 'large.bin'));
  assert.equal(await page.evaluate((url) => window.upload(url).then((f) => f.size), server.url), 3 * MiB);
  assert.ok(workers.some((w) => w.includes('worker.js')), 'it was cut in a worker');
  assert.deepEqual(wrong.filter((w) => !w.includes('404')), []); // there is no icon
});

test('the example signs in, uploads, walks, goes back, shares, deletes and undoes, under a strict policy', async (t) => {
  const server = await serve(t, {users: true, list: 'auth.id != ""'});
  const between = await proxy(t, server);
  const app = await build(t, 'example');
  const url = await vite(t, app, between, 'preview');
  const strange = '<img src=x onerror=document.title=1>.txt';
  const content = random('video', 12 * MiB);
  const dir = await tree(t, {'video.mp4': content, 'trip/day 1/map.pdf': random('map', 9000), [`trip/${strange}`]: 'text'});
  const wrong = [];
  const b = await browser(t);
  const page = await tab(t, b, url, wrong);
  await page.context().grantPermissions(['clipboard-read', 'clipboard-write']);

  await signIn(page, 'no token');
  await page.waitForSelector('#error >> text=Your token is not valid');
  assert.equal(wrong.splice(0).length, 1, 'the browser tells of a 401');
  await page.fill('#token', token('ann'));
  await page.keyboard.press('Enter');
  await page.waitForSelector('text=No files yet');
  assert.deepEqual(await page.evaluate(() => [localStorage.length, Object.keys(sessionStorage).sort(), document.cookie]), [0, ['cairn.bucket', 'cairn.token'], '']);

  // A folder by the picker, and by drag and drop.
  await page.setInputFiles('#folder-input', join(dir, 'trip'));
  await sum(page, '2 files stored: ');
  const cdp = await page.context().newCDPSession(page);
  const target = await page.locator('#drop').boundingBox();
  const at = {x: target.x + 20, y: target.y + 20, data: {items: [], files: [join(dir, 'trip')], dragOperationsMask: 1}};
  await page.goto(url + '/#/files/dropped');
  await page.waitForSelector('text=Nothing is in this folder');
  for (const type of ['dragEnter', 'dragOver']) await cdp.send('Input.dispatchDragEvent', {type, ...at});
  assert.ok(await page.locator('#drop.over').isVisible());
  await cdp.send('Input.dispatchDragEvent', {type: 'drop', ...at});
  await page.waitForSelector('#files a:has-text("trip")');
  await sum(page, '2 files stored: 0 bytes of 9 kB sent');
  await page.click('#files a:has-text("trip")');
  await page.waitForSelector(row(strange));
  assert.equal(await page.locator('#crumbs').innerText().then((s) => s.replace(/\s+/g, ' ')), 'All files dropped trip');
  assert.equal(await page.locator('#here').evaluate((h) => h === document.activeElement), true, 'the focus moves to what is new');
  await page.click('#crumbs a:has-text("dropped")');
  await page.goBack();
  await page.waitForSelector(row('day 1'));
  await page.click('#crumbs a');
  await page.waitForSelector(row('trip'));

  // An upload that is paused goes on where it was, and says what it sent.
  let held;
  await page.route('**/chunks', async (route) => {
    await (held ??= page.click('button[aria-label="Pause video.mp4"]', {timeout: 30_000}).catch(() => undefined));
    await route.continue().catch(() => undefined); // it may be aborted
  });
  await page.setInputFiles('#files-input', join(dir, 'video.mp4'));
  await page.waitForSelector('#upload-list li.paused');
  await page.unroute('**/chunks');
  await page.click('button[aria-label="Resume video.mp4"]');
  await page.waitForSelector('text=/^Stored: 1[23]\\sMB of 13\\sMB sent/');
  const changed = content.slice();
  changed.fill(7, 3 * MiB, 4 * MiB);
  await writeFile(join(dir, 'video.mp4'), changed);
  await page.setInputFiles('#files-input', join(dir, 'video.mp4'));
  await page.waitForSelector('text=/^Stored as version 2: .*\\skB of 13\\sMB sent/');
  await sum(page, 'saved');
  await page.waitForSelector(`${row('video.mp4')} >> text=version 2`);
  const uploads = await (await fetch(`${server.url}/api/files/demo/_usage`, {headers: {Authorization: 'Bearer ' + token('ann')}})).json();
  assert.equal(uploads.files, 5);

  // By keyboard: versions and back.
  await page.focus('button[aria-label="Versions video.mp4"]');
  await page.keyboard.press('Enter');
  await page.click('#version-list li:has-text("Version 1") button:has-text("Restore")');
  await page.waitForSelector('#version-list li:has-text("Version 3") >> text=current');
  await page.keyboard.press('Escape');
  assert.equal(await page.evaluate(() => document.activeElement.getAttribute('aria-label')), 'Versions video.mp4');

  // A link, which opens without a token, and ends.
  await page.click('button[aria-label="Share video.mp4"]');
  await page.selectOption('#share-for', {label: '1 hour'});
  await page.selectOption('#share-how', 'download');
  await page.click('text=Make a link');
  await page.click('#share-copy');
  await page.waitForSelector('text=Copied');
  const link = await page.evaluate(() => navigator.clipboard.readText());
  const got = await fetch(link);
  assert.deepEqual([got.status, (await got.arrayBuffer()).byteLength], [200, content.length]);
  await page.click('#share-list button');
  await page.waitForSelector('#share-open', {state: 'hidden'});
  assert.ok((await fetch(link)).status >= 400);
  await page.keyboard.press('Escape');

  // Delete after a question, undo, and the trash.
  await page.click('button[aria-label="Delete video.mp4"]');
  await page.click('text=Keep it');
  await page.click('button[aria-label="Delete video.mp4"]');
  await page.click('#ask-yes');
  await page.click('text=Undo');
  await page.waitForSelector(row('video.mp4'));
  await page.click('button[aria-label="Delete video.mp4"]');
  await page.click('#ask-yes');
  await page.waitForSelector(row('video.mp4'), {state: 'detached'});
  await page.click('#places a:has-text("Trash")');
  await page.click('button[aria-label="Delete for good video.mp4"]');
  await page.waitForSelector('text=All 3 versions are gone then');
  await page.click('#ask-yes');
  await page.waitForSelector('text=The trash is empty');

  // A failure is told in words, and what failed is tried again.
  await page.click('#places a:has-text("Files")');
  await page.waitForSelector(row('trip'));
  const refuse = (route) => route.fulfill({status: 403, contentType: 'application/problem+json', body: '{"code":"quota-exceeded"}'});
  await page.route('**/_sessions', refuse);
  await page.setInputFiles('#files-input', join(dir, 'video.mp4'));
  await page.waitForSelector('#upload-list >> text=There is no room left: the quota is used up.');
  await page.unroute('**/_sessions');
  await page.click('button[aria-label="Try again video.mp4"]');
  await page.waitForSelector(row('video.mp4'));
  assert.deepEqual(wrong.splice(0).filter((w) => !w.includes('403')), []);

  // Without a network it waits, says so, and goes on.
  await page.route('**/chunks', async (route) => {
    await page.context().setOffline(true);
    await route.abort();
  });
  await writeFile(join(dir, 'video.mp4'), random('offline', 5 * MiB));
  await page.setInputFiles('#files-input', join(dir, 'video.mp4'));
  await page.waitForSelector('#upload-list >> text=You are offline.');
  await page.unroute('**/chunks');
  await page.context().setOffline(false);
  await page.waitForSelector('text=/^Stored as version 2: 5.2\\sMB/', {timeout: 60_000});
  assert.deepEqual(wrong.splice(0).filter((w) => !/ERR_(INTERNET_DISCONNECTED|FAILED)/.test(w)), []);

  // At 390 pixels nothing is wider than the page, and every control has a name.
  await page.setViewportSize({width: 390, height: 800});
  assert.equal(await page.evaluate(() => document.documentElement.scrollWidth), 390);
  const nameless = await page.evaluate(() => [...document.querySelectorAll('button, a, input, select, progress')]
    .filter((el) => el.checkVisibility() && !(el.ariaLabel || el.textContent.trim() || el.labels?.length)).map((el) => el.outerHTML));
  assert.deepEqual(nameless, []);
  await page.click('#sign-out');
  await page.waitForSelector('#sign-in');
  assert.equal(await page.evaluate(() => sessionStorage.getItem('cairn.token')), null);
  assert.notEqual(await page.title(), '1', 'a name is text');
  assert.deepEqual(wrong, []);
});
