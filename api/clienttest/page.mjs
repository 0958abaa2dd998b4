// What the browser runs: Uppy with its tus plugin, against another origin.
import Uppy from '@uppy/core'
import Tus from '@uppy/tus'

function bytes(size) {
  const out = new Uint8Array(size)
  for (let at = 0; at < size; at += 65536) crypto.getRandomValues(out.subarray(at, Math.min(at + 65536, size)))
  return out
}

async function sha256(data) {
  return Array.from(new Uint8Array(await crypto.subtle.digest('SHA-256', data)), (b) => b.toString(16).padStart(2, '0')).join('')
}

// stored compares what the server holds with what was sent.
async function stored(server, result, content) {
  if (result.failed.length) throw new Error(String(result.failed[0].error))
  const url = result.successful[0].uploadURL
  const head = await fetch(url, { method: 'HEAD', headers: { 'Tus-Resumable': '1.0.0' } })
  const id = head.headers.get('X-File-Id')
  if (!id) throw new Error(`no X-File-Id at ${url}: ${head.status}`)
  const back = await (await fetch(`${server}/api/files/demo/${id}/download`)).arrayBuffer()
  if (await sha256(back) !== await sha256(content)) throw new Error(`${back.byteLength} other bytes came back`)
}

function uppyFor(server, options) {
  return new Uppy({ autoProceed: false }).use(Tus, {
    endpoint: `${server}/api/tus/demo`, retryDelays: [0, 100, 500], allowedMetaFields: ['name', 'type'], ...options,
  })
}

const MiB = 1 << 20
// The client knows files by name and size: each has a name of its own.
const plain = (options) => async (server) => {
  const content = bytes(3 * MiB + 12_345)
  const uppy = uppyFor(server, options)
  uppy.addFile({ name: `${JSON.stringify(options)}.bin`.replaceAll('"', ''), type: 'application/x-test', data: new Blob([content]) })
  await stored(server, await uppy.upload(), content)
  uppy.destroy()
}

const uploads = {
  plain: plain({}),
  chunked: plain({ chunkSize: 400_000 }),
  'data during creation': plain({ uploadDataDuringCreation: true }),
  parallel: plain({ parallelUploads: 4 }),
  'method override': plain({ overridePatchMethod: true, chunkSize: MiB }),
  async 'several files'(server) {
    const uppy = uppyFor(server, { limit: 3 })
    const contents = new Map()
    for (let i = 0; i < 8; i++) {
      const content = bytes(200_000 + i)
      contents.set(uppy.addFile({ name: `f${i}`, data: new Blob([content]) }), content)
    }
    const result = await uppy.upload()
    for (const file of result.successful) await stored(server, { successful: [file], failed: result.failed }, contents.get(file.id))
    if (result.successful.length !== 8) throw new Error(`${result.successful.length} of 8 arrived`)
    uppy.destroy()
  },
  async 'pause and go on'(server) {
    const content = bytes(3 * MiB)
    const uppy = uppyFor(server, { chunkSize: 300_000 })
    const id = uppy.addFile({ name: 'paused', data: new Blob([content]) })
    let paused = false
    uppy.on('upload-progress', (file, progress) => {
      if (!paused && progress.bytesUploaded > MiB) {
        paused = true
        uppy.pauseResume(id)
        setTimeout(() => uppy.pauseResume(id), 200)
      }
    })
    const result = await uppy.upload()
    if (!paused) throw new Error('it was never paused')
    await stored(server, result, content)
    uppy.destroy()
  },
  async 'cancel terminates'(server) {
    const uppy = uppyFor(server, { chunkSize: 300_000 })
    const id = uppy.addFile({ name: 'given up', data: new Blob([bytes(3 * MiB)]) })
    const url = await new Promise((resolve, reject) => {
      uppy.on('upload-progress', (file, progress) => {
        const at = uppy.getFile(id)?.tus?.uploadUrl
        if (progress.bytesUploaded > MiB && at) { uppy.removeFile(id); resolve(at) }
      })
      uppy.upload().catch(reject)
    })
    for (let i = 0; i < 50; i++) {
      const head = await fetch(url, { method: 'HEAD', headers: { 'Tus-Resumable': '1.0.0' } })
      if (head.status === 404) { uppy.destroy(); return }
      await new Promise((resolve) => setTimeout(resolve, 100))
    }
    throw new Error('the upload is still there')
  },
}

// half begins an upload that the page's end interrupts; rest goes on with it.
window.half = async (server) => {
  const uppy = uppyFor(server, { chunkSize: 100_000 })
  uppy.addFile({ name: 'kept', data: fixed() })
  uppy.on('upload-progress', (file, progress) => { if (progress.bytesUploaded > MiB) window.farEnough = true })
  uppy.upload()
}
window.rest = async (server) => {
  const uppy = uppyFor(server, { chunkSize: 100_000 })
  uppy.addFile({ name: 'kept', data: fixed() })
  let first = -1
  uppy.on('upload-progress', (file, progress) => { if (first < 0 && progress.bytesUploaded > 0) first = progress.bytesUploaded })
  const result = await uppy.upload()
  await stored(server, result, new Uint8Array(await fixed().arrayBuffer()))
  if (first < MiB) throw new Error(`it began again at ${first}`)
}

// fixed is the same file on every page: clients know files by name, size and date.
function fixed() {
  const out = new Uint8Array(20 * MiB)
  for (let i = 0, x = 1; i < out.length; i++) out[i] = (x = (x * 48271) % 0x7fffffff)
  return new File([out], 'kept', { lastModified: 1 })
}

window.uploads = Object.keys(uploads)
window.run = (name, server) => uploads[name](server)
