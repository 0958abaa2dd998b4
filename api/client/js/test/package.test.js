// The shape of what is published.
import assert from 'node:assert/strict';
import {execFile} from 'node:child_process';
import {cp, mkdtemp, readdir, readFile, rm, symlink, writeFile} from 'node:fs/promises';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {test} from 'node:test';
import {fileURLToPath} from 'node:url';
import {promisify} from 'node:util';
import {gzipSync} from 'node:zlib';
import {typeErrors} from './types.js';

const run = promisify(execFile);

const root = fileURLToPath(new URL('..', import.meta.url));
const bin = (name) => join(root, 'node_modules', '.bin', name);

test('the types are those of the OpenAPI description', async (t) => {
  const dir = await mkdtemp(join(tmpdir(), 'cairn-js-'));
  t.after(() => rm(dir, {recursive: true}));
  await run(bin('openapi-typescript'), [join(root, '../../openapi.yaml'), '--output', join(dir, 'openapi.ts'), '--alphabetize']);
  assert.ok((await readFile(join(dir, 'openapi.ts'), 'utf8')) === (await readFile(join(root, 'src/openapi.ts'), 'utf8')), 'src/openapi.ts is not current: run npm run types');
});

test('what is packed installs, is typed, and builds with Vite', async (t) => {
  const dir = await mkdtemp(join(tmpdir(), 'cairn-js-'));
  t.after(() => rm(dir, {recursive: true}));
  const {stdout} = await run('npm', ['pack', '--json', '--ignore-scripts', '--pack-destination', dir], {cwd: root});
  const [{filename, files}] = JSON.parse(stdout);
  const packed = files.map((f) => f.path);
  for (const want of ['package.json', 'README.md', 'LICENSE', 'dist/index.js', 'dist/index.d.ts', 'dist/worker.js', 'dist/platform.js', 'dist/platform.node.js', 'src/index.ts']) assert.ok(packed.includes(want), want);
  assert.deepEqual(packed.filter((p) => !/^(dist|src)\/[\w.-]+$|^(package\.json|README\.md|LICENSE)$/.test(p)), []);

  // As if it were installed.
  const app = join(dir, 'app');
  const home = join(app, 'node_modules', '@cairn-store', 'client');
  await run('mkdir', ['-p', home]);
  await run('tar', ['-xzf', join(dir, filename), '-C', home, '--strip-components=1']);
  for (const name of ['hash-wasm', 'vite']) await symlink(join(root, 'node_modules', name), join(app, 'node_modules', name));
  await cp(join(root, 'example'), app, {recursive: true, filter: (p) => !p.includes('node_modules') && !p.endsWith('dist')});
  await writeFile(join(app, 'typed.ts'), `
import {Client, CairnError, type StoredFile} from '@cairn-store/client';
const client = new Client({server: 'https://files.example.com', getToken: async () => 'token'});
const file: StoredFile = await client.upload('demo', new Blob(['x']), {name: 'x', onProgress: ({sent}) => void sent.toFixed()});
const root: string = file.checksums.root;
for await (const f of client.files('demo', {prefix: root})) void f.versions_count.toFixed();
// @ts-expect-error there is no such conflict rule
await client.upload('demo', new Blob(['x']), {name: 'x', onConflict: 'whatever'});
// @ts-expect-error a size is a number
const size: string = file.size;
try { await client.sign('demo', file.id, {operation: 'view'}); } catch (err) { if (err instanceof CairnError) void err.code.length; }
`);
  const faults = typeErrors(app, ['typed.ts']);
  assert.deepEqual(faults, []);

  await run(bin('vite'), ['build', '--logLevel', 'warn'], {cwd: app}).catch((err) => assert.fail(err.stdout + err.stderr));
  let size = 0;
  const assets = await readdir(join(app, 'dist', 'assets'));
  for (const f of assets) size += gzipSync(await readFile(join(app, 'dist', 'assets', f))).length;
  assert.ok(assets.some((f) => f.startsWith('worker')), 'the worker is a file of its own');
  assert.ok(size < 1 << 20, `${size} bytes gzipped`);
  t.diagnostic(`built with Vite: ${size} bytes gzipped in ${assets.length} files`);
});
