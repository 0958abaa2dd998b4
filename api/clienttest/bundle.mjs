// Writes the page for the browser: node bundle.mjs DIR
import { writeFileSync } from 'node:fs'
import { build } from 'esbuild'

const dir = process.argv[2]
await build({ entryPoints: ['page.mjs'], bundle: true, format: 'iife', outfile: `${dir}/page.js` })
writeFileSync(`${dir}/index.html`, '<!doctype html><meta charset="utf-8"><title>uploads</title><script src="page.js"></script>')
