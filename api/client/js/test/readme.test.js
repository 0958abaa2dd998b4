// The code on the page that people read first: it is type-checked, and it runs.
import assert from 'node:assert/strict';
import {mkdir, mkdtemp, readFile, rm, symlink, writeFile} from 'node:fs/promises';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {test} from 'node:test';
import {fileURLToPath, pathToFileURL} from 'node:url';
import {Client} from '../dist/index.js';
import {random} from './inputs.js';
import {serve} from './server.js';
import {bundled, typeErrors} from './types.js';

const root = fileURLToPath(new URL('..', import.meta.url));

/** What the page leaves to the reader's program. */
const known = `
import type {Client, StoredFile, HostState} from '@cairn-store/client';
declare global {
  const client: Client, file: StoredFile, log: StoredFile, oldCopy: Blob, input: {files: File[]}, bar: {show(part: number): void};
  const db: {get(sql: string): Promise<HostState | undefined>; run(sql: string, ...values: unknown[]): Promise<void>};
  const signIn: () => Promise<{accessToken: string}>, getToken: () => Promise<string>;
}
`;

test('the code of the README and of the manual\'s page is right', async (t) => {
  const dir = await mkdtemp(join(tmpdir(), 'cairn-js-'));
  t.after(() => rm(dir, {recursive: true}));
  await mkdir(join(dir, 'node_modules/@cairn-store'), {recursive: true});
  await symlink(root, join(dir, 'node_modules/@cairn-store/client'));
  await writeFile(join(dir, 'package.json'), '{"type": "module"}');
  await writeFile(join(dir, 'known.d.ts'), known);

  const server = await serve(t);
  const blocks = [];
  for (const page of ['README.md', '../../../docs/clients.md']) {
    const found = [...(await readFile(join(root, page), 'utf8')).matchAll(/^```js\n([^]*?)^```$/gm)].map((m) => m[1]);
    assert.ok(found.length > 0, `${page} has no code`);
    blocks.push(...found);
  }
  const names = [];
  for (const [i, block] of blocks.entries()) {
    const code = block.replaceAll('https://files.example.com', server.url).replaceAll("'documents'", "'demo'") + '\nexport {};\n';
    await writeFile(join(dir, `block${i}.ts`), code);
    await writeFile(join(dir, `block${i}.js`), code.replace("{id: 'ann'}", 'null')); // a server with --dev knows no users
    names.push(`block${i}.ts`);
  }
  assert.deepEqual(typeErrors(dir, [...names, 'known.d.ts'], {noImplicitAny: false}, [bundled]), []);

  const client = new Client({server: server.url});
  const content = random('readme', 100_000);
  const rows = [];
  Object.assign(globalThis, {
    client, oldCopy: new Blob([content.slice(0, 50_000)]), input: {files: [new File([content], 'photo.jpg')]}, bar: {show: (part) => assert.ok(part >= 0 && part <= 1)},
    db: {get: async () => undefined, run: async (...row) => void rows.push(row)}, signIn: async () => ({accessToken: 'any'}), getToken: async () => 'any',
  });
  t.mock.method(console, 'log', () => {});
  for (const [i, block] of blocks.entries()) {
    globalThis.file = await client.upload('demo', content, {name: `file ${i}.bin`, folder: 'reports'});
    globalThis.log = await client.upload('demo', new Blob(['log\n']), {name: `log ${i}.txt`});
    await import(pathToFileURL(join(dir, `block${i}.js`)).href).catch((err) => assert.fail(`${err.stack}\n${block}`));
  }
  assert.equal((await client.statPath('demo', 'reports/photo.jpg')).size, content.length);
  const edited = (await client.list('demo', {prefix: 'both.log'})).files[0];
  assert.equal(edited.size, 9 + 4 + 50);
  assert.match(rows.map(([sql]) => sql).join(), /REPLACE INTO cairn_host.*UPDATE posts/);
});
