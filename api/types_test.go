package api_test

import (
	"errors"
	"net/url"
	"strings"
	"testing"

	"github.com/cairn-store/cairn/buckets"
	"github.com/cairn-store/cairn/buckets/mediatype"
	"github.com/cairn-store/cairn/internal/race"
)

const (
	bom     = "\xef\xbb\xbf"
	svgText = `<svg xmlns="http://www.w3.org/2000/svg" onload="alert(1)"/>`
	xmlText = `<?xml version="1.0"?><x/>`
	csvText = "a,b\n1,2\n3,4\n"
	pngHead = "\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00\x00\x01\x00\x00\x00\x01\x08\x06\x00\x00\x00"

	shownText  = "text/plain; charset=utf-8"
	binaryType = "application/octet-stream"
	jsType     = "text/javascript"
	mdType     = "text/markdown"
	yamlType   = "application/yaml"
	csvType    = "text/csv"
	jsonType   = "application/json"
	plainType  = "text/plain"
	svgType    = "image/svg+xml"
	htmlType   = "text/html"
	xmlType    = "text/xml"
)

// typeCases are what becomes of a content: how it is recorded; as which of types a
// bucket takes it, and as which not; by which type a download goes; and by which
// it is shown in place, "" if it is not. strict is the error of type_check:
// strict. A line more is a case more.
var typeCases = []struct {
	name, declared, content  string
	recorded, taken, refused string
	download, view           string
	strict                   error
}{
	// Kinds that only the name tells: taken as text/plain too, served as such.
	{"a.js", "", "alert(1)", jsType, jsType + " text/plain text/* */*", "text/css application/json", plainType, shownText, nil},
	{"a.js", "text/javascript; charset=utf-8", "alert(1)", jsType, jsType, htmlType, plainType, shownText, nil},
	{"a.js", "application/x-javascript", "alert(1)", jsType, jsType, htmlType, plainType, shownText, nil},
	{"a.JS", "", "alert(1)", jsType, jsType, htmlType, plainType, shownText, nil},
	{"a.mjs", "", "export default 1", jsType, jsType + " text/plain", htmlType, plainType, shownText, nil},
	{"a.cjs", "application/node", "exports.a = 1", jsType, jsType, htmlType, plainType, shownText, buckets.ErrTypeMismatch},
	{"a.min.js", "", "a", jsType, jsType, htmlType, plainType, shownText, nil},
	{"a.js", "", bom + "alert(1)", jsType, jsType + " text/plain", htmlType, plainType, shownText, nil},
	{"a.js", "", "", jsType, jsType + " text/plain", htmlType, plainType, shownText, nil},
	{"a.js", "text/css", "alert(1)", jsType, jsType, "text/css", plainType, shownText, buckets.ErrTypeMismatch},
	{"a.js", "image/png", "alert(1)", jsType, jsType, "image/png", plainType, shownText, buckets.ErrTypeMismatch},
	{"a.js", "", "one,two\nthree,four\nfive,six\n", jsType, jsType + " text/plain", csvType, plainType, shownText, nil},
	{"a.css", "text/css", "body { margin: 0 }\n", "text/css", "text/css text/plain text/*", jsType, plainType, shownText, nil},
	{"a.css", "text/plain", "body {}", "text/css", "text/css text/plain", jsType, plainType, shownText, nil},
	{"a.css", "", "a{x:1,2}\nb{y:3,4}\n", "text/css", "text/css text/plain", csvType, plainType, shownText, nil},
	{"a.scss", "", "$a: 1px", "text/x-scss", "text/x-scss text/plain", jsType, plainType, shownText, nil},
	{"a.less", "", "@a: 1px", "text/x-less", "text/x-less text/plain", jsType, plainType, shownText, nil},
	{"a.ts", "video/mp2t", "let a: number", "text/x-typescript", "text/x-typescript text/plain", "video/mp2t " + jsType, plainType, shownText, nil},
	{"a.tsx", "", "<main/>", "text/x-typescript", "text/plain", jsType, plainType, shownText, nil},
	{"a.jsx", "", "x", "text/jsx", "text/jsx text/plain", jsType, plainType, shownText, nil},
	{"README.md", "text/markdown", "# Title\n", mdType, mdType + " text/plain", htmlType, plainType, shownText, nil},
	{"a.markdown", "", "text", mdType, mdType + " text/plain", htmlType, plainType, shownText, nil},
	{"a.md", "text/x-markdown", "text", mdType, mdType, htmlType, plainType, shownText, nil},
	{"a.md", "", "Subject: x\nFrom: y\nTo: z\n\ntext", mdType, mdType + " text/plain", "message/rfc822", plainType, shownText, nil},
	{"README.md", "", "<h1 align=center>Title</h1>\n\ntext", mdType, mdType + " text/plain", htmlType, plainType, shownText, nil},
	{"README.md", "", "<!-- badges -->\n# Title", mdType, mdType + " text/plain", htmlType, plainType, shownText, nil},
	{"a.yaml", "application/yaml", "a: 1\n", yamlType, yamlType + " text/plain", jsonType, plainType, shownText, nil},
	{"a.yml", "application/x-yaml", "a: 1\n", yamlType, yamlType + " text/plain", jsonType, plainType, shownText, nil},
	{"a.yaml", "text/yaml", `{"a": 1}`, yamlType, yamlType + " application/json", plainType, plainType, shownText, nil},
	{"a.toml", "", "a = 1\n", "application/toml", "application/toml text/plain", yamlType, plainType, shownText, nil},
	{"a.sql", "application/sql", "select 1", "application/sql", "application/sql text/plain", yamlType, plainType, shownText, nil},
	{"a.py", "text/x-python", "print(1)", "text/x-python", "text/x-python text/plain", jsType, plainType, shownText, nil},
	{"a.sh", "application/x-sh", "echo", "text/x-shellscript", "text/x-shellscript text/plain", jsType, plainType, shownText, nil},
	{"a.rb", "", "puts 1", "text/x-ruby", "text/x-ruby text/plain", jsType, plainType, shownText, nil},
	{"a.php", "", "echo 1;", "text/x-php", "text/x-php text/plain", htmlType, plainType, shownText, nil},
	{"a.go", "", "package a", "text/x-go", "text/x-go text/plain", jsType, plainType, shownText, nil},
	{"a.rs", "text/rust", "fn main() {}", "text/x-rust", "text/x-rust text/plain", jsType, plainType, shownText, nil},
	{"a.c", "text/x-csrc", "int a;", "text/x-c", "text/x-c text/plain", jsType, plainType, shownText, nil},
	{"a.hpp", "", "int a;", "text/x-c++", "text/x-c++ text/plain", jsType, plainType, shownText, nil},
	{"a.java", "", "class A {}", "text/x-java", "text/plain", jsType, plainType, shownText, nil},
	{"a.tex", "application/x-tex", `\documentclass{a}`, "text/x-tex", "text/plain", jsType, plainType, shownText, nil},
	{"a.diff", "", "--- a\n+++ b\n", "text/x-diff", "text/plain", jsType, plainType, shownText, nil},
	{"a.csv", "text/csv", "a;b\n1;2\n", csvType, csvType + " text/plain", jsonType, csvType, shownText, nil},
	{"a.csv", "application/vnd.ms-excel", "a;b\n1;2\n", csvType, csvType + " text/plain", "application/vnd.ms-excel", csvType, shownText, nil},
	{"a.csv", "", bom + "a;b\n1;2\n", csvType, csvType + " text/plain", jsonType, csvType, shownText, nil},
	{"a.csv", "", "\xff\xfea\x00;\x00b\x00", csvType, csvType + " text/plain", jsonType, csvType, shownText, nil},
	{"a.csv", "", "one column\n", csvType, csvType + " text/plain", jsonType, csvType, shownText, nil},
	{"a.csv", "text/csv", csvText, csvType, csvType + " text/plain", jsonType, csvType, shownText, nil},
	{"a.tsv", "", "a b\n", "text/tab-separated-values", "text/tab-separated-values text/plain", csvType, "text/tab-separated-values", shownText, nil},

	// Kinds that have a mark, behind a byte order mark.
	{"a.json", "application/json", bom + `{"a": 1}`, jsonType, jsonType + " text/plain", jsType, jsonType, shownText, nil},
	{"a.json", "", bom + `{"type": "Feature"}`, "application/geo+json", "application/geo+json text/plain", jsType, "application/geo+json", shownText, nil},
	{"a.json", "", "\xff\xfe{\x00}\x00", jsonType, jsonType + " text/plain", jsType, jsonType, shownText, nil},
	{"a.json", "", bom + "{a", plainType, plainType, jsonType, plainType, shownText, nil},
	{"a.xml", "", bom + xmlText, xmlType, xmlType, plainType, xmlType, "", nil},
	{"a.svg", "", bom + svgText, svgType, svgType + " text/plain", htmlType, svgType, "", nil},
	{"a.txt", "", bom + svgText, plainType, plainType, svgType, plainType, shownText, nil},
	{"a.html", "", bom + "<html><p>", htmlType, htmlType, plainType, htmlType, "", nil},

	{"a.svg", "", bom + `<?xml version="1.0"?>` + svgText, svgType, svgType + " image/*", xmlType + " text/plain", svgType, "", nil},
	{"a", "", bom + `<?xml version="1.0"?><rss version="2.0"/>`, "application/rss+xml", "application/rss+xml", plainType, "application/rss+xml", "", nil},
	{"a.ndjson", "", bom + "{}\n{}\n", "application/x-ndjson", "application/x-ndjson text/plain", jsonType, "application/x-ndjson", shownText, nil},

	// Types that have other names, in lists of those that are taken.
	{"a.xml", "text/xml", xmlText, xmlType, "application/xml text/xml", "application/xhtml+xml", xmlType, "", nil},
	{"a.svg", "", bom + xmlText, xmlType, "application/xml", svgType, xmlType, "", buckets.ErrTypeMismatch},
	{"a.js", "", "alert(1)", jsType, "application/javascript application/x-javascript application/ecmascript", "application/json", plainType, shownText, nil},
	{"a.js", "", "#!/usr/bin/node\n", jsType, "application/javascript", "application/json", plainType, shownText, nil},
	{"a.md", "", "# x", mdType, "text/x-markdown", htmlType, plainType, shownText, nil},
	{"a.yaml", "", "a: 1", yamlType, "text/yaml application/x-yaml text/x-yaml", jsonType, plainType, shownText, nil},
	{"a.toml", "", "a = 1", "application/toml", "text/toml", yamlType, plainType, shownText, nil},
	{"a.csv", "", "a;b\n", csvType, "application/csv text/x-csv", "application/vnd.ms-excel text/tsv", csvType, shownText, nil},
	{"a.csv", "", csvText, csvType, "application/csv", "application/msexcel", csvType, shownText, nil},
	{"a.tsv", "", "a;b\n", "text/tab-separated-values", "text/tsv", csvType, "text/tab-separated-values", shownText, nil},
	{"a.ts", "", "let a", "text/x-typescript", "application/typescript", "video/mp2t", plainType, shownText, nil},
	{"a.py", "", "#!/usr/bin/python\n", "text/x-python", "text/x-script.python application/x-python-code", jsType, plainType, shownText, nil},
	{"a.ico", "image/vnd.microsoft.icon", "\x00\x00\x01\x00\x01\x00", "image/x-icon", "image/vnd.microsoft.icon image/x-icon", "image/png", "image/x-icon", "image/x-icon", nil},
	{"a.flac", "audio/x-flac", "fLaC\x00\x00\x00\x22", "audio/flac", "audio/x-flac", "audio/mpeg", "audio/flac", "audio/flac", nil},
	{"a.exe", "application/x-msdownload", "MZ\x90\x00\x03\x00\x00\x00", "application/vnd.microsoft.portable-executable", "application/x-msdownload", plainType, "application/vnd.microsoft.portable-executable", "", nil},
	{"a.jsonl", "application/jsonl", "{}\n{}\n", "application/x-ndjson", "application/jsonl application/x-jsonlines", jsonType, "application/x-ndjson", shownText, nil},
	{"a.json", "text/json", "{}", jsonType, "text/json", plainType, jsonType, shownText, nil},
	{"a.m4a", "audio/mp4", "\x00\x00\x00\x18ftypM4A \x00\x00\x00\x00isomiso2", "audio/x-m4a", "audio/mp4", "video/mp4", "audio/x-m4a", "audio/x-m4a", nil},
	{"a.tgz", "application/x-compressed-tar", "\x1f\x8b\x08\x00\x00\x00\x00\x00", "application/gzip", "application/gzip", "application/x-tar", "application/gzip", "", nil},
	{"a.jpg", "image/jpeg", "\xff\xd8\xff\xe0\x00\x10JFIF\x00", "image/jpeg", "image/jpeg image/jpg image/pjpeg", "image/png", "image/jpeg", "image/jpeg", nil},
	{"a.mp3", "audio/mp3", "\xff\xfb\x90\x64", "audio/mpeg", "audio/mp3 audio/x-mpeg", "audio/wav", "audio/mpeg", "audio/mpeg", nil},
	{"a.wav", "audio/x-wav", "RIFF\x24\x00\x00\x00WAVEfmt ", "audio/wav", "audio/x-wav audio/wave", "audio/mpeg", "audio/wav", "audio/wav", nil},
	{"a.gz", "application/gzip", "\x1f\x8b\x08\x00\x00\x00\x00\x00", "application/gzip", "application/x-gzip", "application/zip", "application/gzip", "", nil},
	{"a.zip", "application/x-zip-compressed", "PK\x03\x04\x14\x00\x00\x00\x00\x00", "application/zip", "application/x-zip-compressed", "application/gzip", "application/zip", "", nil},
	{"a.rtf", "", `{\rtf1}`, "text/rtf", "application/rtf", plainType, "text/rtf", "", nil},
	{"a.m4a", "", "\x00\x00\x00\x18ftypM4A \x00\x00\x00\x00isomiso2", "audio/x-m4a", "audio/*", "audio/mpeg", "audio/x-m4a", "audio/x-m4a", nil},

	// Pictures in one container.
	{"a.heic", "image/heic", "\x00\x00\x00\x18ftypheic\x00\x00\x00\x00mif1heic", "image/heic", "image/heic image/*", "image/heif", "image/heic", "", nil},
	{"a.heic", "image/heif", "\x00\x00\x00\x18ftypheic\x00\x00\x00\x00mif1heic", "image/heic", "image/heic", "image/avif", "image/heic", "", nil},
	{"a.heic", "image/heic", "\x00\x00\x00\x18ftypmif1\x00\x00\x00\x00mif1heic", "image/heif", "image/heif", "image/heic", "image/heif", "", nil},
	{"a.heic", "image/jpeg", "\x00\x00\x00\x18ftypheic\x00\x00\x00\x00mif1heic", "image/heic", "image/heic", "image/jpeg", "image/heic", "", buckets.ErrTypeMismatch},

	// Types that are made of others, and not known here.
	{"a.json", "application/ld+json", `{"a": 1}`, jsonType, jsonType, plainType, jsonType, shownText, nil},
	{"a.json", "application/ld+json", `hello`, plainType, plainType, jsonType, plainType, shownText, buckets.ErrTypeMismatch},
	{"a.xml", "application/soap+xml", xmlText, xmlType, xmlType, jsonType, xmlType, "", nil},
	{"a", "application/vnd.ms-excel.sheet.macroenabled.12", "PK\x03\x04\x14\x00\x00\x00\x00\x00", "application/zip", "application/zip", plainType, "application/zip", "", nil},
	{"a", "image/png", "PK\x03\x04\x14\x00\x00\x00\x00\x00", "application/zip", "application/zip", plainType, "application/zip", "", buckets.ErrTypeMismatch},
	{"a", "application/pdf", "PK\x03\x04\x14\x00\x00\x00\x00\x00", "application/zip", "application/zip", plainType, "application/zip", "", buckets.ErrTypeMismatch},

	{"a.json", "application/json", `"text"`, jsonType, jsonType + " text/plain", jsType, jsonType, shownText, nil},
	{"a.json", "", "null\n", jsonType, jsonType + " text/plain", jsType, jsonType, shownText, nil},
	{"a.txt", "", "12", plainType, plainType, jsonType, plainType, shownText, nil},
	{"a.json", "", "", plainType, plainType, jsonType, plainType, shownText, nil},

	// Names that their content contradicts.
	{"a.js", "", "<html><script>", htmlType, htmlType, jsType + " text/plain", htmlType, "", buckets.ErrTypeMismatch},
	{"a.md", "", "<!DOCTYPE html><script>", htmlType, htmlType, mdType + " text/plain", htmlType, "", buckets.ErrTypeMismatch},
	{"a.md", "", "\n <script>alert(1)</script>", htmlType, htmlType, mdType + " text/plain", htmlType, "", buckets.ErrTypeMismatch},
	{"a.css", "", "<h1>Title</h1>", htmlType, htmlType, "text/css text/plain", htmlType, "", buckets.ErrTypeMismatch},
	{"a.css", "", svgText, svgType, svgType, "text/css text/plain", svgType, "", buckets.ErrTypeMismatch},
	{"a.md", "", xmlText, xmlType, xmlType, mdType + " text/plain", xmlType, "", buckets.ErrTypeMismatch},
	{"a.js", "", "\x00\x01\x02", binaryType, binaryType, jsType + " text/plain", binaryType, "", buckets.ErrTypeMismatch},
	{"a.css", "text/css", pngHead, "image/png", "image/png image/*", "text/css", "image/png", "image/png", buckets.ErrTypeMismatch},
	{"a.csv", "", "a\x00;\x00b\x00", binaryType, binaryType, csvType + " text/plain", binaryType, "", buckets.ErrTypeMismatch},
	{"a.csv", "", "%PDF-1.7\n", "application/pdf", "application/pdf", csvType, "application/pdf", "application/pdf", buckets.ErrTypeMismatch},
	{"a.json", "", "hello", plainType, plainType, jsonType, plainType, shownText, nil},
	{"a.json", "", "{a: 1}", plainType, plainType, jsonType, plainType, shownText, nil},
	{"a.svg", "", "hello", plainType, plainType, svgType, plainType, shownText, nil},
	{"a.html", "", "hello", plainType, plainType, htmlType, plainType, shownText, nil},
	{"a.png", "image/png", "alert(1)", plainType, plainType, "image/png", plainType, shownText, buckets.ErrTypeMismatch},
	{"a.xls", "application/vnd.ms-excel", "a;b\n", plainType, plainType, csvType, plainType, shownText, buckets.ErrTypeMismatch},

	// Scripts that their first line tells, whatever their names.
	{"a.txt", "text/plain", "#!/usr/bin/env node\nalert(1)", jsType, jsType + " text/plain", htmlType, plainType, shownText, nil},
	{"a", "", "#! /usr/bin/node\nalert(1)", jsType, jsType + " text/plain", htmlType, plainType, shownText, nil},
	{"a.png", "image/png", "#!/usr/bin/env node\nalert(1)", jsType, jsType, "image/png", plainType, shownText, buckets.ErrTypeMismatch},
	{"a.css", "", "#!/usr/bin/env -S node\n", jsType, jsType, "text/css", plainType, shownText, nil},
	{"a.js", "", "#!/usr/bin/nodejs\n", jsType, jsType + " text/plain", htmlType, plainType, shownText, nil},
	{"a.ts", "", "#!/usr/bin/env node\n", jsType, jsType + " text/plain", htmlType, plainType, shownText, nil},
	{"a.sh", "", "#!/bin/sh\n", "text/x-shellscript", "text/x-shellscript text/plain", htmlType, plainType, shownText, nil},
	{"a.py", "", "#!/usr/bin/env python3\n", "text/x-python", "text/plain", htmlType, plainType, shownText, nil},
	{"a", "", "#!/usr/bin/perl\n", "text/x-perl", "text/plain", htmlType, plainType, shownText, nil},
	{"a", "", "#!/usr/bin/ruby\n", "text/x-ruby", "text/plain", htmlType, plainType, shownText, nil},
	{"a", "", "#!/usr/bin/env lua\n", "text/x-lua", "text/plain", htmlType, plainType, shownText, nil},
	{"a", "", "#!/usr/bin/tclsh\n", "text/x-tcl", "text/plain", htmlType, plainType, shownText, nil},
	{"a", "", "#!/usr/bin/awk -f\n", plainType, plainType, jsType, plainType, shownText, nil},
	{"a.php", "", "<?php echo 1;", "text/x-php", "text/x-php", htmlType, plainType, shownText, nil},

	// What browsers show as a page, or as a picture that may run.
	{"a.html", "text/html", "<!DOCTYPE html><p>", htmlType, htmlType + " text/*", plainType, htmlType, "", nil},
	{"a.htm", "", "<html>", htmlType, htmlType, plainType, htmlType, "", nil},
	{"a.txt", "text/plain", "<script>alert(1)</script>", htmlType, htmlType, plainType, htmlType, "", nil},
	{"a.xhtml", "", `<?xml version="1.0"?><html xmlns="http://www.w3.org/1999/xhtml"/>`, "application/xhtml+xml", "application/xhtml+xml", plainType, "application/xhtml+xml", "", nil},
	{"a.svg", "image/svg+xml", svgText, svgType, svgType + " image/*", plainType, svgType, "", nil},
	{"a.svg", "", `<?xml version="1.0"?>` + svgText, svgType, svgType, plainType, svgType, "", nil},
	{"a.xml", "application/xml", xmlText, xmlType, xmlType, plainType, xmlType, "", nil},
	{"a.xsl", "", `<?xml version="1.0"?><xsl:stylesheet xmlns:xsl="http://www.w3.org/1999/XSL/Transform"/>`, xmlType, xmlType, plainType, xmlType, "", nil},
	{"a.rss", "", `<?xml version="1.0"?><rss version="2.0"/>`, "application/rss+xml", "application/rss+xml", plainType, "application/rss+xml", "", nil},
	{"a.wasm", "", "\x00asm\x01\x00\x00\x00", "application/wasm", "application/wasm", plainType, binaryType, "", nil},

	// Text and data.
	{"a.txt", "", "hello", plainType, plainType + " text/*", jsType, plainType, shownText, nil},
	{"a", "", "", plainType, plainType, jsType, plainType, shownText, nil},
	{"Makefile", "", "all:\n\techo\n", plainType, plainType, jsType, plainType, shownText, nil},
	{".js", "", "x", jsType, jsType + " text/plain", htmlType, plainType, shownText, nil},
	{"a.", "", "x", plainType, plainType, jsType, plainType, shownText, nil},
	{"a.log", "", "line\n", plainType, plainType, jsType, plainType, shownText, nil},
	{"a.txt", "", csvText, csvType, csvType + " text/plain", jsonType, csvType, shownText, nil},
	{"a.json", "application/json; charset=utf-8", `{"a": 1}`, jsonType, jsonType, plainType + " " + jsType, jsonType, shownText, nil},
	{"a.txt", "", `[1, 2]`, jsonType, jsonType, plainType, jsonType, shownText, nil},
	{"a.geojson", "", `{"type": "Feature"}`, "application/geo+json", "application/geo+json", jsonType, "application/geo+json", shownText, nil},
	{"a.ndjson", "", "{}\n{}\n", "application/x-ndjson", "application/x-ndjson", jsonType, "application/x-ndjson", shownText, nil},
	{"a.ics", "", "BEGIN:VCALENDAR\nVERSION:2.0\n", "text/calendar", "text/calendar", plainType, "text/calendar", "", nil},
	{"a.rtf", "", `{\rtf1}`, "text/rtf", "text/rtf", plainType, "text/rtf", "", nil},
	{"a.bin", "application/octet-stream", "\x00\x01", binaryType, binaryType, plainType, binaryType, "", nil},
	{"a.bin", "", pngHead, "image/png", "image/png", plainType, "image/png", "image/png", nil},
	{"a.png", "image/png", pngHead, "image/png", "image/png image/*", plainType, "image/png", "image/png", nil},
	{"a.gif", "", "GIF89a\x01\x00\x01\x00", "image/gif", "image/*", plainType, "image/gif", "image/gif", nil},
	{"a.pdf", "", "%PDF-1.7\n", "application/pdf", "application/pdf", plainType, "application/pdf", "application/pdf", nil},
	{"a.mp4", "", "\x00\x00\x00\x18ftypisom\x00\x00\x00\x00isomiso2", "video/mp4", "video/*", plainType, "video/mp4", "video/mp4", nil},
	{"a.zip", "", "PK\x03\x04\x14\x00\x00\x00\x00\x00", "application/zip", "application/zip", plainType, "application/zip", "", nil},
	{"a.exe", "", "MZ\x90\x00\x03\x00\x00\x00", "application/vnd.microsoft.portable-executable", "*/*", plainType, "application/vnd.microsoft.portable-executable", "", nil},
}

func TestTypesTakenAndServed(t *testing.T) {
	race.LeaveOut(t)
	w := newWorld(t)
	detector := mediatype.NewDetector()
	for _, c := range typeCases {
		t.Run(c.name+" "+c.declared+" "+c.content[:min(len(c.content), 12)], func(t *testing.T) {
			k, _, err := detector.ReadHead(c.name, strings.NewReader(c.content))
			if err != nil || k.Type != c.recorded {
				t.Errorf("found %s, want %s, %v", k.Type, c.recorded, err)
			}
			for _, list := range []struct {
				types string
				want  error
			}{{c.taken, nil}, {c.refused, buckets.ErrType}} {
				for one := range strings.FieldsSeq(list.types) {
					if err := (&buckets.Limits{Types: []string{one}}).CheckType(c.name, c.declared, k); !errors.Is(err, list.want) {
						t.Errorf("allowed_types: [%s]: %v, want %v", one, err, list.want)
					}
				}
			}
			if err := (&buckets.Limits{TypeCheck: buckets.TypeStrict}).CheckType(c.name, c.declared, k); !errors.Is(err, c.strict) {
				t.Errorf("type_check: strict: %v, want %v", err, c.strict)
			}
			at := w.want(201, "", "POST", "/api/files/demo?name="+url.QueryEscape(c.name), strings.NewReader(c.content), "Content-Type", c.declared).Header.Get("Location")
			for route, want := range map[string]string{"/download": c.download, "/view": c.view} {
				disposition := "inline"
				if route == "/download" || want == "" {
					disposition, want = "attachment", c.download
				}
				h := w.want(200, "", "GET", at+route, nil).Header
				if got := h.Get("Content-Type"); got != want || !strings.HasPrefix(h.Get("Content-Disposition"), disposition) {
					t.Errorf("%s goes as %s (%s), want %s (%s)", route, got, h.Get("Content-Disposition"), want, disposition)
				}
			}
		})
	}
}

// What browsers run is served by its own type only where the operator names it.
func TestNamedInlineTypes(t *testing.T) {
	race.LeaveOut(t)
	for listed, want := range map[string][3]string{ // of a script, a style, and a text, shown; "" if it is not
		"text/javascript":           {jsType, "", ""},
		"text/css, text/javascript": {jsType, "text/css", ""},
		"application/javascript":    {jsType, "", ""},
		"text/plain":                {plainType, plainType, plainType},
		"text/*":                    {plainType, plainType, plainType},
		`"*/*"`:                     {plainType, plainType, plainType},
		"image/png":                 {"", "", ""},
	} {
		w := secured(t, "buckets: {b: {inline_types: ["+listed+`], rules: {create: "true", read: "true"}}}`)
		for i, c := range [][2]string{{"a.txt", "#!/usr/bin/env node\n"}, {"a.css", "a {}"}, {"a.log", "x"}} {
			at := w.want(201, "", "POST", "/api/files/b?name="+c[0], strings.NewReader(c[1])).Header.Get("Location")
			shown := w.want(200, "", "GET", at+"/view", nil).Header
			sent := w.want(200, "", "GET", at+"/download", nil).Header
			disposition, own := "inline", plainType
			if want[i] == "" {
				disposition = "attachment"
			} else {
				own = want[i]
			}
			if !strings.HasPrefix(shown.Get("Content-Disposition"), disposition) || shown.Get("Content-Type") != own || sent.Get("Content-Type") != own {
				t.Errorf("[%s]: %s is shown as %s (%s), downloaded as %s, want %q", listed, c[0], shown.Get("Content-Type"),
					shown.Get("Content-Disposition"), sent.Get("Content-Type"), want[i])
			}
		}
	}
}

// A signed URL that shows in place shows no script either.
func TestSignedScript(t *testing.T) {
	w := secured(t, ownersSchema)
	f := w.putAs("ann", "docs", "a.txt", "#!/usr/bin/env node\nalert(1)")
	for _, disposition := range []string{"inline", "attachment", ""} {
		u := w.signAs("ann", "docs", f.ID, `{"operation": "download", "disposition": "`+disposition+`"}`)
		h := w.want(200, "", "GET", relative(u), nil).Header
		if got := h.Get("Content-Type"); !strings.HasPrefix(got, plainType) || h.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("disposition %q: %v", disposition, h)
		}
	}
}
