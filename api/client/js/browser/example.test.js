// The example page, as somebody who tries it sees it.
import assert from 'node:assert/strict';
import {spawn} from 'node:child_process';
import {once} from 'node:events';
import {mkdtemp, rm, writeFile} from 'node:fs/promises';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {test} from 'node:test';
import {random} from '../test/inputs.js';
import {serve} from '../test/server.js';
import {browser, build, tab} from './site.js';

test('the example uploads, shows and deletes files', async (t) => {
  const server = await serve(t);
  const app = await build(t, 'example');
  const vite = spawn(join(app, 'node_modules/vite/bin/vite.js'), ['preview', '--host', '127.0.0.1', '--port', '0', '--clearScreen', 'false'],
    {cwd: app, env: {...process.env, CAIRN_SERVER: server.url, NO_COLOR: '1'}, stdio: ['ignore', 'pipe', 'inherit']});
  t.after(async () => {
    vite.kill();
    await once(vite, 'exit');
  });
  let said = '';
  const url = await new Promise((resolve) => vite.stdout.on('data', (d) => {
    const m = /http:\/\/127\.0\.0\.1:\d+/.exec(said += d);
    if (m) resolve(m[0]);
  }));
  const dir = await mkdtemp(join(tmpdir(), 'cairn-js-'));
  t.after(() => rm(dir, {recursive: true}));
  await writeFile(join(dir, 'photo.bin'), random('photo', 3 << 20));

  const wrong = [];
  const page = await tab(t, await browser(t), url, wrong);
  await page.setInputFiles('#file', join(dir, 'photo.bin'));
  await page.click('#upload');
  await page.waitForSelector('text=stored photo.bin, version 1');
  await page.waitForSelector('#files tr >> text=photo.bin');
  await writeFile(join(dir, 'photo.bin'), random('another', 3 << 20));
  await page.selectOption('#as', {label: 'photo.bin'});
  await page.setInputFiles('#file', join(dir, 'photo.bin'));
  await page.click('#upload');
  await page.waitForSelector('text=stored photo.bin, version 2');
  await page.click('#files button');
  await page.waitForFunction(() => document.querySelectorAll('#files tr').length === 0);
  assert.deepEqual(wrong, []);
});
