// Uploads by Uppy in a browser: node browser.mjs BROWSER PAGE SERVER
// PAGE is where bundle.mjs' page is served, on another origin than SERVER.
import { chromium } from 'playwright-core'

const [browserPath, pageURL, server] = process.argv.slice(2)
const browser = await chromium.launch({ executablePath: browserPath, args: ['--no-sandbox', '--disable-gpu', '--disable-background-networking'] })
let failed = 0

async function attempt(label, fn) {
  try {
    await Promise.race([fn(), new Promise((_, reject) => setTimeout(reject, 90_000, new Error('it hangs')).unref())])
    console.log(`ok ${label}`)
  } catch (err) {
    failed++
    console.log(`FAILED ${label}: ${err}`)
  }
}

const context = await browser.newContext()
async function open() {
  const page = await context.newPage()
  page.on('pageerror', (err) => console.log(`page: ${err}`))
  await page.goto(pageURL)
  return page
}

const page = await open()
for (const name of await page.evaluate(() => window.uploads)) {
  await attempt(`Uppy: ${name}`, () => page.evaluate(([name, server]) => window.run(name, server), [name, server]))
}
await attempt('Uppy: gone on with by a new page', async () => {
  const first = await open()
  await first.evaluate((server) => { window.half(server) }, server)
  await first.waitForFunction(() => window.farEnough)
  await first.close()
  const second = await open()
  await second.evaluate((server) => window.rest(server), server)
})
await browser.close()
process.exit(failed ? 1 : 0)
