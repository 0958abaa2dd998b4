// A page of another origin that uses the client as it is published, in a real browser.
import {execFile, spawn} from 'node:child_process';
import {once} from 'node:events';
import {cp, mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile} from 'node:fs/promises';
import http from 'node:http';
import {tmpdir} from 'node:os';
import {extname, join} from 'node:path';
import {fileURLToPath} from 'node:url';
import {promisify} from 'node:util';
import {chromium} from 'playwright-core';

const run = promisify(execFile);
export const root = fileURLToPath(new URL('..', import.meta.url));

/** Packs the client, installs it beside what is in from, and builds that with Vite. Returns the app's directory. */
export async function build(t, from) {
  const dir = await mkdtemp(join(tmpdir(), 'cairn-js-'));
  t.after(() => rm(dir, {recursive: true, force: true}));
  const {stdout} = await run('npm', ['pack', '--json', '--ignore-scripts', '--pack-destination', dir], {cwd: root});
  const app = join(dir, 'app');
  const home = join(app, 'node_modules', '@cairn-store', 'client');
  await mkdir(home, {recursive: true});
  await run('tar', ['-xzf', join(dir, JSON.parse(stdout)[0].filename), '-C', home, '--strip-components=1']);
  for (const name of ['hash-wasm', 'vite']) await symlink(join(root, 'node_modules', name), join(app, 'node_modules', name));
  await cp(join(root, from), app, {recursive: true, filter: (p) => !p.includes('node_modules') && !p.endsWith('dist')});
  await run(join(root, 'node_modules', '.bin', 'vite'), ['build', '--logLevel', 'warn'], {cwd: app});
  return app;
}

/** Copies a folder of this package, whose file:.. is the client still. */
export async function copy(t, from) {
  const app = join(await tree(t, {}), from);
  await cp(join(root, from), app, {recursive: true, filter: (p) => !p.includes('node_modules') && !p.endsWith('dist')});
  const about = JSON.parse(await readFile(join(app, 'package.json'), 'utf8'));
  about.dependencies['@cairn-store/client'] = 'file:' + root;
  await writeFile(join(app, 'package.json'), JSON.stringify(about));
  return app;
}

/** Runs Vite in a folder, before a server, and returns the page's address. */
export async function vite(t, app, server, ...args) {
  const p = spawn(process.execPath, [join(app, 'node_modules/vite/bin/vite.js'), ...args, '--host', '127.0.0.1', '--port', '0', '--clearScreen', 'false'],
    {cwd: app, env: {...process.env, CAIRN_SERVER: server.url, NO_COLOR: '1'}, stdio: ['ignore', 'pipe', 'inherit']});
  t.after(async () => {
    p.kill();
    await once(p, 'exit');
  });
  let said = '';
  return new Promise((resolve, reject) => {
    p.on('exit', () => reject(new Error(`vite has ended: ${said}`)));
    p.stdout.on('data', (d) => {
      const m = /http:\/\/127\.0\.0\.1:\d+/.exec(said += d);
      if (m) resolve(m[0]);
    });
  });
}

/** Files to upload, by path. */
export async function tree(t, files) {
  const dir = await mkdtemp(join(tmpdir(), 'cairn-js-'));
  t.after(() => rm(dir, {recursive: true}));
  for (const [path, bytes] of Object.entries(files)) {
    await mkdir(join(dir, path, '..'), {recursive: true});
    await writeFile(join(dir, path), bytes);
  }
  return dir;
}

/** Serves a directory with the policy that the manual names. */
export async function host(t, dir) {
  const types = {'.html': 'text/html', '.js': 'text/javascript', '.wasm': 'application/wasm', '.css': 'text/css'};
  const files = new Map();
  for (const f of await readdir(dir, {recursive: true, withFileTypes: true})) {
    if (f.isFile()) files.set(join(f.parentPath, f.name).slice(dir.length), await readFile(join(f.parentPath, f.name)));
  }
  const s = http.createServer((req, res) => {
    const path = req.url === '/' ? '/index.html' : req.url;
    if (path === '/favicon.ico') {
      res.writeHead(204).end();
      return;
    }
    if (!files.has(path)) {
      res.writeHead(404).end();
      return;
    }
    res.writeHead(200, {'Content-Type': types[extname(path)] ?? 'application/octet-stream',
      'Content-Security-Policy': "default-src 'self'; connect-src *; worker-src 'self'; script-src 'self' 'wasm-unsafe-eval'"});
    res.end(files.get(path));
  }).listen(0, '127.0.0.1');
  await once(s, 'listening');
  t.after(() => s.close());
  return `http://127.0.0.1:${s.address().port}`;
}

/** Starts Chromium. */
export async function browser(t) {
  const b = await chromium.launch({executablePath: process.env.CAIRN_BROWSER ?? '/usr/bin/chromium', args: ['--no-sandbox', '--disable-background-networking']});
  t.after(() => b.close());
  return b;
}

/** A tab at an address, which fails the test with what goes wrong in it. */
export async function tab(t, b, url, wrong = []) {
  const page = await b.newPage();
  page.on('pageerror', (err) => wrong.push(String(err)));
  page.on('console', (m) => m.type() === 'error' && wrong.push(m.text()));
  await page.goto(url);
  t.after(() => page.isClosed() || page.close());
  return page;
}

/** The most memory that a tab of this machine's browsers takes, in bytes: its proportional share of what is resident. */
export async function tabMemory() {
  let most = 0;
  for (const pid of await readdir('/proc')) {
    if (!/^\d+$/.test(pid)) continue;
    try {
      if (!(await readFile(`/proc/${pid}/cmdline`, 'utf8')).includes('--type=renderer')) continue;
      const pss = /^Pss:\s+(\d+) kB/m.exec(await readFile(`/proc/${pid}/smaps_rollup`, 'utf8'));
      most = Math.max(most, Number(pss[1]) * 1024);
    } catch {} // it has ended meanwhile
  }
  return most;
}
