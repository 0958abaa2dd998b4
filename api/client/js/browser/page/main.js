import {Client, cut} from '@cairn-store/client';

const chosen = () => document.getElementById('file').files[0];

// What the tests call; getToken is theirs.
window.client = (server) => new Client({server, getToken: () => window.getToken()});
window.progress = {sent: 0, scanned: 0};
window.upload = async (server, options = {}) => {
  window.stop = new AbortController();
  return window.client(server).upload('demo', chosen(), {...options, signal: window.stop.signal, onProgress: (p) => (window.progress = p)});
};
window.scan = async (server) => {
  const {profiles} = await (await fetch(server + '/api/files/_capabilities')).json();
  const start = performance.now();
  let chunks = 0;
  await cut(chosen(), profiles.balanced, (list) => (chunks += list.count));
  return {chunks, seconds: (performance.now() - start) / 1000};
};
window.digest = async (server, id, options) => {
  const {stream} = await window.client(server).download('demo', id, options);
  const parts = [];
  for (let r = stream.getReader(), p; !(p = await r.read()).done;) parts.push(p.value);
  const sum = await crypto.subtle.digest('SHA-256', await new Blob(parts).arrayBuffer());
  return [...new Uint8Array(sum)].map((b) => b.toString(16).padStart(2, '0')).join('');
};
window.ready = true;
