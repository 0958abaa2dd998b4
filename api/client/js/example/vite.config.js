import {defineConfig} from 'vite';

const server = process.env.CAIRN_SERVER ?? 'http://127.0.0.1:8090';

// The server takes requests of its own origin's pages only when it runs with
// --dev, so they come to it as if they were: without the page's Origin.
const api = {
  '/api': {
    target: server,
    changeOrigin: true,
    configure: (proxy) => proxy.on('proxyReq', (req) => req.removeHeader('origin')),
  },
};

export default defineConfig({
  server: {proxy: api},
  preview: {proxy: api},
  // The worker finds its script beside the module that starts it.
  optimizeDeps: {exclude: ['@cairn-store/client']},
  worker: {format: 'es'},
});
