#!/bin/sh
# Builds the client and runs its tests: check.sh test in Node, check.sh soak in a
# browser. Installs what is needed: Node 20 and npm, Chromium for the latter.
set -eu
cd "$(dirname "$0")"

install() {
	echo "check.sh: installs $* from the distribution's packages"
	apt-get update -qq
	apt-get install -y -qq --no-install-recommends "$@" >/dev/null
}

command -v npm >/dev/null || install nodejs npm
if [ "$(node -p 'process.versions.node.split(".")[0]')" -lt 20 ]; then
	[ -z "${CAIRN_NODE:-}" ] || { echo "check.sh: want Node 20"; exit 1; }
	CAIRN_NODE=1 exec npx --yes --package=node@22.23.3 -- sh ./check.sh "$@"
fi
[ "$1" != soak ] || command -v chromium >/dev/null || install chromium

# Installed once for a lockfile.
sum=$(cksum package-lock.json)
if [ "$sum" != "$(cat node_modules/.lock 2>/dev/null)" ]; then
	npm ci --no-audit --no-fund
	echo "$sum" >node_modules/.lock
fi
npm run --silent build
npm run --silent "$1"
