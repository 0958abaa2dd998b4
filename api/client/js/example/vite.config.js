import {realpathSync} from 'node:fs';
import {fileURLToPath} from 'node:url';
import {defineConfig} from 'vite';

// Vite hands /api on with the Host of the page: page and API are of one origin to the server, and URLs in its answers
// come back here.
const proxy = {'/api': {target: process.env.CAIRN_SERVER ?? 'http://127.0.0.1:8090'}};

// The page runs under this policy. What it needs beside its own files: WebAssembly, which hashes, and a worker.
const policy = [
  "default-src 'none'", "script-src 'self' 'wasm-unsafe-eval'", "style-src 'self'", "img-src 'self' data:", "connect-src 'self'", "worker-src 'self'",
  "base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'",
].join('; ');
const headers = {'Content-Security-Policy': policy, 'X-Content-Type-Options': 'nosniff', 'Referrer-Policy': 'no-referrer'};

// The client is a link into the folder above, and its worker is a file of its own there: it has to be served too.
const client = realpathSync(fileURLToPath(new URL('node_modules/@cairn-store/client', import.meta.url)));

export default defineConfig({
  server: {proxy, headers, fs: {allow: ['.', client]}},
  preview: {proxy, headers},
  // Before Vite 8 the worker was not found beside the module that starts it when the package was bundled in advance.
  optimizeDeps: {exclude: ['@cairn-store/client']},
  worker: {format: 'es'},
});
