#!/usr/bin/env bash
# Builds all that a release has into dist/: an archive for each platform, the source, .deb
# packages, a bill of materials (CycloneDX) for each program, SHA256SUMS and its signature.
# The same commit and the same version of Go make the same bytes, wherever and whenever.
#
#   PLATFORMS="linux/amd64 …"   what to build for
#   OUT=dist                    where to; it is removed first
#   SIGNING_KEY=FILE            a private SSH key (ed25519) that signs SHA256SUMS
#   SIGNING_KEY_TEXT=…          the key itself, in place of a file
#   UNSIGNED=1                  sign nothing: for trials
set -euo pipefail
cd "$(dirname "$0")/.."

GO=${GO:-go}
OUT=${OUT:-dist}
NFPM=github.com/goreleaser/nfpm/v2/cmd/nfpm@v2.43.0
CYCLONEDX=github.com/CycloneDX/cyclonedx-gomod/cmd/cyclonedx-gomod@v1.10.0

read -r version commit time < <(release/version.sh)
fail() {
	echo "release: $*" >&2
	exit 1
}
if [ "${UNSIGNED:-}" != 1 ]; then
	[ -n "${SIGNING_KEY:-}${SIGNING_KEY_TEXT:-}" ] ||
		fail "there is no key, so nothing would be signed: set SIGNING_KEY=FILE or SIGNING_KEY_TEXT, or UNSIGNED=1 for a trial"
	[[ $version != *+dirty && $version != unknown ]] ||
		fail "version $version: files were changed since the commit, or there is none to name; commit first, or set UNSIGNED=1 for a trial"
	command -v ssh-keygen >/dev/null || fail "there is no ssh-keygen to sign with (Debian: apt-get install openssh-client)"
fi

# name_debian prints the version as dpkg compares it: 1.0.0-rc.1 and what Go names a commit
# come before 1.0.0, and 1.0.0-4-gabc, four commits behind the tag, after it.
name_debian() {
	if [[ $1 =~ ^(.*)-([0-9]+)-(g[0-9a-f]+.*)$ ]]; then
		echo "${BASH_REMATCH[1]//-/\~}+${BASH_REMATCH[2]}.${BASH_REMATCH[3]}"
	else
		echo "${1//-/\~}"
	fi
}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
rm -rf "$OUT"
mkdir -p "$OUT"
out=$(cd "$OUT" && pwd)
export CGO_ENABLED=0 SOURCE_DATE_EPOCH=$time TZ=UTC LC_ALL=C
# Go writes what it notes of the repository into programs: the linker tells it, so that a
# source archive makes the same program.
export GOFLAGS="-trimpath -buildvcs=false"
umask 022

# Tools run on this machine, whatever is built for.
$GO build -o "$work/archive" ./release/archive
for tool in "$NFPM" "$CYCLONEDX"; do
	GOBIN=$work $GO install "$tool"
done
$GO build -o "$work/cairn" ./cmd/cairn
for shell in bash zsh fish; do
	"$work/cairn" completion $shell >"$work/completion.$shell"
done

for platform in $PLATFORMS; do
	os=${platform%/*} arch=${platform#*/}
	name=cairn_${version}_${os}_$arch
	echo "release: $name"
	dir=$work/$os-$arch/$name exe=cairn
	[ "$os" != windows ] || exe=cairn.exe
	mkdir -p "$dir/completions"
	GOOS=$os GOARCH=$arch $GO build -ldflags "-s -w -buildid= $(release/version.sh ldflags)" -o "$dir/$exe" ./cmd/cairn
	cp -r LICENSE README.md CHANGELOG.md SECURITY.md docs "$dir/"
	cp "$work"/completion.* "$dir/completions/"
	[ "$os" != linux ] || cp release/cairn.service release/deb/sysusers.conf "$dir/"
	"$work/cyclonedx-gomod" bin -json -noserial -notimestamp -std -version "$version" -output "$out/$name.cdx.json" "$dir/$exe" 2>/dev/null
	if [ "$os" = windows ]; then
		"$work/archive" -time "$time" -o "$out/$name.zip" "$dir"
	else
		"$work/archive" -time "$time" -o "$out/$name.tar.gz" "$dir"
	fi
	if [ "$os" = linux ]; then
		root=$work/$os-$arch/root
		mkdir -p "$root"
		cp "$dir/cairn" LICENSE CHANGELOG.md release/cairn.service release/deb/* "$work"/completion.* "$root/"
		sed -e "s|\${ROOT}|$root|g; s|\${ARCH}|$arch|g; s|\${VERSION}|$(name_debian "$version")|g" release/deb/nfpm.yaml >"$root/nfpm.yaml"
		"$work/nfpm" package -f "$root/nfpm.yaml" -p deb -t "$out/$name.deb"
	fi
done

if git rev-parse HEAD >/dev/null 2>&1; then
	git archive --format=tar --prefix="cairn_$version/" HEAD | gzip -n -9 >"$out/cairn_${version}_source.tar.gz"
fi

(cd "$out" && sha256sum -- * >"$work/SHA256SUMS" && mv "$work/SHA256SUMS" .)
if [ "${UNSIGNED:-}" = 1 ]; then
	echo "release: nothing is signed (UNSIGNED=1)"
else
	key=${SIGNING_KEY:-}
	if [ -z "$key" ]; then
		key=$work/key
		(umask 077 && printf '%s\n' "$SIGNING_KEY_TEXT" >"$key")
	fi
	ssh-keygen -q -Y sign -f "$key" -n file "$out/SHA256SUMS"
	echo "release: SHA256SUMS is signed by $(ssh-keygen -l -f "$key")"
fi
echo "release: version $version, commit $commit, $($GO env GOVERSION), in $OUT:"
cat "$out/SHA256SUMS"
