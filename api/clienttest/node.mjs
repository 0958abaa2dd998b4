// Uploads by tus-js-client in Node against a server: node node.mjs SERVER DIR
// Prints a line for every upload that came out right, and exits with 1 if
// one did not.
import { createHash, randomBytes } from 'node:crypto'
import { createReadStream, writeFileSync } from 'node:fs'
import { fork } from 'node:child_process'
import { Readable } from 'node:stream'
import { fileURLToPath } from 'node:url'
import * as tus4 from 'tus-js-client'
import * as tus5 from 'tus-js-client-5'
import { FileUrlStorage as FileUrlStorage5 } from 'tus-js-client-5/node/FileUrlStorage'

const MiB = 1 << 20
const clients = {
  4: { tus: tus4, FileUrlStorage: tus4.FileUrlStorage },
  5: { tus: tus5, FileUrlStorage: FileUrlStorage5 },
}

// run uploads input and resolves with the last response.
function run(client, input, options, during) {
  return new Promise((resolve, reject) => {
    const upload = new client.tus.Upload(input, {
      retryDelays: [0, 100, 500],
      onError: reject,
      onSuccess: ({ lastResponse }) => resolve({ upload, response: lastResponse }),
      ...options,
    })
    during?.(upload, reject)
    upload.start()
  })
}

const sha256 = (bytes) => createHash('sha256').update(bytes).digest('hex')

// stored compares what the server holds with what was sent.
async function stored(server, { upload, response }, content, name) {
  let id = response?.getHeader('X-File-Id')
  if (!id) { // a part's or none: ask for the whole
    const tus = upload.options.protocol === 'tus-v1' || !upload.options.protocol
    const head = await fetch(upload.url, { method: 'HEAD', headers: tus ? { 'Tus-Resumable': '1.0.0' } : {} })
    id = head.headers.get('X-File-Id')
  }
  if (!id) throw new Error('no X-File-Id')
  const file = await (await fetch(`${server}/api/files/demo/${id}`)).json()
  const bytes = Buffer.from(await (await fetch(`${server}/api/files/demo/${id}/download`)).arrayBuffer())
  if (sha256(bytes) !== sha256(content)) throw new Error(`${bytes.length} other bytes came back, of ${content.length}`)
  if (!file.name.startsWith(name)) throw new Error(`the file is called ${file.name}`)
}

function endpoint(server, protocol) {
  return protocol === 'tus-v1' ? `${server}/api/tus/demo` : `${server}/api/files/demo/`
}

function options(server, protocol, name) {
  const o = { endpoint: endpoint(server, protocol), metadata: { filename: name, filetype: 'application/x-test' } }
  if (protocol !== 'tus-v1') o.protocol = protocol
  return o
}

// A stream of unknown length, in pieces that fit nothing.
function* pieces(content) {
  for (let at = 0; at < content.length; at += 77_777) yield content.subarray(at, at + 77_777)
}

const uploads = {
  async plain(s) { return run(s.client, s.content, s.options) },
  async chunked(s) { return run(s.client, s.content, { ...s.options, chunkSize: 300_000 }) },
  async empty(s) { s.content = Buffer.alloc(0); return run(s.client, s.content, s.options) },
  async 'data during creation'(s) { return run(s.client, s.content, { ...s.options, uploadDataDuringCreation: true }) },
  async 'data during creation, chunked'(s) { return run(s.client, s.content, { ...s.options, uploadDataDuringCreation: true, chunkSize: 400_000 }) },
  async 'method override'(s) { return run(s.client, s.content, { ...s.options, overridePatchMethod: true, chunkSize: MiB }) },
  async 'deferred length'(s) {
    return run(s.client, Readable.from(pieces(s.content)), { ...s.options, uploadLengthDeferred: true, chunkSize: 500_000 })
  },
  async 'deferred length that ends with a chunk'(s) {
    s.content = s.content.subarray(0, 1_000_000)
    return run(s.client, Readable.from(pieces(s.content)), { ...s.options, uploadLengthDeferred: true, chunkSize: 500_000 })
  },
  async parallel(s) {
    if (s.protocol !== 'tus-v1') return null // there are no parts
    return run(s.client, s.content, { ...s.options, parallelUploads: 4 })
  },
  async 'abort and go on'(s) {
    let told = 0
    const upload = await new Promise((resolve, reject) => {
      const upload = new s.client.tus.Upload(s.content, {
        ...s.options, chunkSize: 500_000, onError: reject,
        onChunkComplete: (size, offset) => { told = offset; upload.abort().then(() => resolve(upload), reject) },
      })
      upload.start()
    })
    return new Promise((resolve, reject) => {
      upload.options.onChunkComplete = (size, offset) => { if (offset < told) reject(new Error(`it went back to ${offset}`)) }
      upload.options.onSuccess = ({ lastResponse }) => resolve({ upload, response: lastResponse })
      upload.options.onError = reject
      upload.start()
    })
  },
  async 'killed, and gone on with by a new process'(s, server, dir) {
    const path = `${dir}/${s.label.replaceAll(/[^a-z0-9]/g, '-')}`
    s.content = Buffer.concat([s.content, s.content, s.content])
    writeFileSync(path, s.content)
    const child = fork(fileURLToPath(import.meta.url), ['half', server, s.version, s.protocol, path])
    await new Promise((resolve, reject) => {
      child.on('message', () => child.kill('SIGKILL'))
      child.on('error', reject)
      child.on('exit', (code) => code === null ? resolve() : reject(new Error(`the process to be killed ended with ${code}`)))
    })
    const o = withStorage(s.client, s.options, path)
    const upload = new s.client.tus.Upload(createReadStream(path), o)
    const before = await upload.findPreviousUploads()
    if (before.length !== 1) throw new Error(`${before.length} earlier uploads are known`)
    let first = -1
    return new Promise((resolve, reject) => {
      upload.options.onProgress = (sent) => { if (first < 0) first = sent }
      upload.options.onError = reject
      upload.options.onSuccess = ({ lastResponse }) => first > 0 ? resolve({ upload, response: lastResponse }) : reject(new Error('it began anew'))
      upload.resumeFromPreviousUpload(before[0])
      upload.start()
    })
  },
  async terminate(s) {
    const upload = await new Promise((resolve, reject) => {
      const upload = new s.client.tus.Upload(s.content, {
        ...s.options, chunkSize: 500_000, onError: reject,
        onChunkComplete: () => { upload.abort(true).then(() => resolve(upload), reject) },
      })
      upload.start()
    })
    const head = await fetch(upload.url, { method: 'HEAD', headers: { 'Tus-Resumable': '1.0.0' } })
    if (head.status !== 404) throw new Error(`HEAD after terminate: ${head.status}`)
    return null
  },
}

function withStorage(client, options, path) {
  return { ...options, chunkSize: 500_000, urlStorage: new client.FileUrlStorage(`${path}.urls`) }
}

// half sends some of a file, says so, and waits to be killed.
async function half(server, version, protocol, path) {
  const client = clients[version]
  const o = withStorage(client, options(server, protocol, 'killed, and gone on with by a new process'), path)
  let chunks = 0
  await run(client, createReadStream(path), {
    ...o,
    onChunkComplete: () => { if (++chunks === 3) process.send('far enough') },
    onBeforeRequest: () => chunks >= 3 ? new Promise(() => {}) : undefined,
  })
}

async function all(server, dir) {
  let failed = 0
  for (const [version, protocols] of [['4', ['tus-v1']], ['5', ['tus-v1', 'ietf-draft-03', 'ietf-draft-05']]]) {
    for (const protocol of protocols) {
      for (const [what, upload] of Object.entries(uploads)) {
        const label = `tus-js-client ${version}, ${protocol}: ${what}`
        const s = { label, version, protocol, client: clients[version], content: randomBytes(3 * MiB + 12_345), options: options(server, protocol, what) }
        try {
          const done = await Promise.race([upload(s, server, dir), new Promise((_, reject) => setTimeout(reject, 60_000, new Error('it hangs')).unref())])
          if (done) await stored(server, done, s.content, what)
          console.log(`ok ${label}`)
        } catch (err) {
          failed++
          console.log(`FAILED ${label}: ${err}`)
        }
      }
    }
  }
  process.exit(failed ? 1 : 0)
}

const args = process.argv.slice(2)
if (args[0] === 'half') await half(...args.slice(1))
else await all(...args)
