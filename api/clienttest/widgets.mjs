// What window.mjs runs: upload widgets with the least of configuration.
import Uppy from '@uppy/core'
import Tus from '@uppy/tus'
import XHRUpload from '@uppy/xhr-upload'
import * as FilePond from 'filepond'

const text = (size) => Array.from({ length: size }, (_, i) => String.fromCharCode(97 + (i * 7 + (i >> 8)) % 26)).join('')

// stored compares what the server holds with what was sent.
async function stored(server, id, want) {
  if (!id) throw new Error('no ID')
  const file = await (await fetch(`${server}/api/files/demo/${id}`)).json()
  const content = await (await fetch(`${server}/api/files/demo/${id}/download`)).text()
  if (content !== want.content) throw new Error(`${content.length} other bytes came back, of ${want.content.length}`)
  if (file.name !== want.name) throw new Error(`the file is called ${file.name}`)
  const metadata = JSON.stringify(file.metadata)
  if (metadata !== JSON.stringify(want.metadata ?? {})) throw new Error(`its metadata is ${metadata}`)
  if (want.type && file.declared_mime_type !== want.type) throw new Error(`its type is ${file.declared_mime_type}`)
}

async function byUppy(plugin, options, want, meta) {
  const uppy = new Uppy().use(plugin, options)
  const data = new File([want.content], want.name, { type: want.type ?? 'text/plain' })
  const id = uppy.addFile({ name: want.name, type: data.type, data, meta })
  const result = await uppy.upload()
  if (result.failed.length) throw new Error(String(result.failed[0].error))
  const file = uppy.getFile(id)
  uppy.destroy()
  return file
}

async function byTus(server, options, want, meta) {
  const file = await byUppy(Tus, { endpoint: `${server}/api/tus/demo`, ...options }, want, meta)
  const head = await fetch(file.uploadURL ?? file.tus.uploadUrl, { method: 'HEAD', headers: { 'Tus-Resumable': '1.0.0' } })
  await stored(server, head.headers.get('X-File-Id'), want)
}

async function byXHR(server, options, want, meta) {
  const file = await byUppy(XHRUpload, { endpoint: `${server}/api/files/demo`, ...options }, want, meta)
  await stored(server, file.response.body.id, want)
}

// byFilePond resolves with the pond and the file that it has uploaded.
function byFilePond(process, want, options = {}) {
  const input = document.createElement('input')
  input.type = 'file'
  input.name = 'file'
  document.body.append(input)
  const pond = FilePond.create(input, { server: { process, revert: null }, credits: false, ...options })
  return new Promise((resolve, reject) => {
    pond.on('processfile', (error, file) => error ? reject(error) : resolve({ pond, file }))
    pond.on('error', reject)
    pond.addFile(new File([want.content], want.name, { type: 'text/plain' }), { metadata: want.told }).then((file) => pond.processFile(file), reject)
  })
}

const asked = { url: '/api/files/demo', onload: (response) => JSON.parse(response).id }

const uploads = {
  // relativePath and the like are left out when they are absent.
  'Uppy, tus: no configuration': (server) => byTus(server, {}, { name: 'uppy-tus.txt', content: text(100_000), type: 'text/plain' }),
  'Uppy, tus: chunks': (server) => byTus(server, { chunkSize: 30_000 }, { name: 'uppy-chunks.txt', content: text(100_000) }),
  'Uppy, tus: a file called null': (server) => byTus(server, {}, { name: 'null', content: 'null' }),
  'Uppy, tus: metadata': (server) => byTus(server, {}, { name: 'uppy-meta.txt', content: text(10), metadata: { caption: 'ü' } }, { caption: 'ü' }),
  'Uppy, tus: nothing in it': (server) => byTus(server, {}, { name: 'uppy-empty.txt', content: '' }),
  'Uppy, XHR: no configuration': (server) => byXHR(server, {}, { name: 'uppy-xhr.txt', content: text(100_000) }),
  'Uppy, XHR: metadata': (server) => byXHR(server, {}, { name: 'uppy-xhr-meta.txt', content: text(10), metadata: { caption: 'ü' } }, { 'metadata[caption]': 'ü' }),
  'Uppy, XHR: another field is named': async (server) => {
    try {
      await byXHR(server, { fieldName: 'files[]', shouldRetry: () => false }, { name: 'x', content: text(200_000) })
    } catch { return }
    throw new Error('it was taken')
  },
  'Uppy, XHR: no form': (server) => byXHR(server, { endpoint: `${server}/api/files/demo?name=raw.txt`, formData: false }, { name: 'raw.txt', content: text(1000) }),
  async 'FilePond: no configuration'(server) {
    const want = { name: 'pond.txt', content: text(100_000) }
    const { file } = await byFilePond(asked, want)
    await stored(server, file.serverId, want)
  },
  async 'FilePond: metadata of its own'(server) {
    const want = { name: 'pond-meta.txt', content: text(10), told: { crop: { x: 1 } } } // sent in a field called file
    const { file } = await byFilePond(asked, want)
    await stored(server, file.serverId, want)
  },
  async 'FilePond: fields after the file'(server) {
    const want = { name: 'pond-fields.txt', content: text(10), metadata: { caption: 'x' } }
    const { file } = await byFilePond({ ...asked, ondata: (form) => { form.append('metadata[caption]', 'x'); return form } }, want)
    await stored(server, file.serverId, want)
  },
  async 'FilePond: undone'(server) {
    const revert = (id, load, error) => fetch(`/api/files/demo/${id}`, { method: 'DELETE' }).then((r) => r.ok ? load() : error(r.status), error)
    const { pond, file } = await byFilePond(asked, { name: 'pond-undone.txt', content: text(10) }, { server: { process: asked, revert } })
    await pond.removeFile(file.id, { revert: true })
    for (let i = 0; i < 50; i++) {
      if ((await fetch(`${server}/api/files/demo/${file.serverId}`)).status === 404) return
      await new Promise((resolve) => setTimeout(resolve, 100))
    }
    throw new Error('the file is still there')
  },
}

window.uploads = Object.keys(uploads)
window.run = (name, server) => uploads[name](server)
