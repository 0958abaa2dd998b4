import {realpathSync} from 'node:fs';
import {fileURLToPath} from 'node:url';
import {defineConfig} from 'vite';

const at = (path) => fileURLToPath(new URL(path, import.meta.url));
// Vite hands /api on with the Host of the page: page and API are of one origin to the server, and URLs in its answers
// come back here.
const proxy = {'/api': {target: process.env.CAIRN_SERVER ?? 'http://127.0.0.1:8090'}};

export default defineConfig({
  server: {proxy, fs: {allow: ['.', realpathSync(at('node_modules/@cairn-store/client'))]}},
  preview: {proxy},
  optimizeDeps: {exclude: ['@cairn-store/client']},
  worker: {format: 'es'},
  build: {target: 'es2022', rollupOptions: {input: ['index', 'uppy', 'uppy-tus', 'filepond'].map((name) => at(name + '.html'))}},
});
