#!/usr/bin/env bash
# Shows that a release can be made again: builds it from a clone and, with an empty build
# cache, from an unpacked source archive in another folder, and compares every byte. Both
# are signed by a key made for that, and verified as docs/operating.md says.
#
#   PLATFORMS   what to build for; default: this machine's
set -euo pipefail
cd "$(dirname "$0")/.."
export GO=${GO:-go}
export PLATFORMS=${PLATFORMS:-$($GO env GOHOSTOS)/$($GO env GOHOSTARCH)}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
git clone -q --shared . "$work/clone"
source="$work/elsewhere/with a longer name/source"
mkdir -p "$source"
git archive HEAD | tar -x -C "$source"
find "$source" -exec touch -d 1999-01-01 {} +

ssh-keygen -q -t ed25519 -N "" -C "" -f "$work/key"
SIGNING_KEY=$work/key OUT=$work/a "$work/clone/release/build.sh"
rm "$work"/a/*_source.tar.gz # which only a repository makes
(
	umask 077
	export TZ=Asia/Tokyo GOCACHE=$work/cache SIGNING_KEY_TEXT OUT=$work/b
	SIGNING_KEY_TEXT=$(cat "$work/key")
	"$source/release/build.sh"
)
for file in "$work"/a/*; do
	name=$(basename "$file")
	case $name in
	SHA256SUMS*) ;; # of one archive less
	*) cmp "$file" "$work/b/$name" ;;
	esac
done

cd "$work/b"
echo "releases@cairn namespaces=\"file\" $(cat "$work/key.pub")" >"$work/allowed_signers"
ssh-keygen -q -Y verify -f "$work/allowed_signers" -I releases@cairn -n file -s SHA256SUMS.sig <SHA256SUMS
sha256sum --quiet -c SHA256SUMS
changed=(cairn_*)
echo "x" >>"${changed[0]}"
if sha256sum --status -c SHA256SUMS; then
	echo "release: a changed file passed" >&2
	exit 1
fi
echo "release: two builds agree to the byte"
