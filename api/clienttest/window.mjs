// Uploads by Uppy and FilePond, as their makers ship them, in the window that
// jsdom makes of a server's origin: node window.mjs SERVER. Prints a line for
// every upload that came out right, and exits with 1 if one did not.
import { build } from 'esbuild'
import { JSDOM, VirtualConsole } from 'jsdom'
import { webcrypto } from 'node:crypto'

const server = process.argv[2]
const bundled = await build({ entryPoints: ['widgets.mjs'], bundle: true, format: 'iife', write: false, logLevel: 'error' })
const { window } = new JSDOM('<!doctype html><body></body>', {
  url: `${server}/`, runScripts: 'outside-only', pretendToBeVisual: true, virtualConsole: new VirtualConsole(),
  beforeParse(window) { // what browsers have and jsdom has not
    Object.defineProperty(window.crypto, 'subtle', { value: webcrypto.subtle })
    window.fetch = (url, options) => fetch(new URL(url, server), options)
    window.URL.createObjectURL = () => 'blob:none'
    window.URL.revokeObjectURL = () => {}
    window.CSS = { supports: () => false }
    window.matchMedia = () => ({ matches: false, addEventListener() {}, removeEventListener() {} })
    window.Blob.prototype.arrayBuffer ??= function () {
      return new Promise((resolve, reject) => {
        const reader = new window.FileReader()
        reader.onload = () => resolve(reader.result)
        reader.onerror = () => reject(reader.error)
        reader.readAsArrayBuffer(this)
      })
    }
  },
})
window.eval(bundled.outputFiles[0].text)

let failed = 0
for (const name of window.uploads) {
  try {
    await Promise.race([window.run(name, server), new Promise((_, reject) => setTimeout(reject, 30_000, new Error('it hangs')).unref())])
    console.log(`ok ${name}`)
  } catch (err) {
    failed++
    console.log(`FAILED ${name}: ${err?.stack ?? JSON.stringify(err)}`)
  }
}
process.exit(failed ? 1 : 0)
