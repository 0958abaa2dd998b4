#!/usr/bin/env bash
# Prints the version, the commit and the time of the commit of this source, on a line: of
# the repository, or of the archive that git has made of it. A commit without a tag is
# named as Go names it. "+dirty" says that files were changed since. With the argument
# ldflags it prints what tells the linker.
set -euo pipefail
cd "$(dirname "$0")/.."

# name_commit COMMIT TIME TAG prints the version of a commit. TAG may be empty.
name_commit() {
	if [ -n "$3" ]; then
		echo "${3#v}"
	else
		local at
		at=$(date -u -d "@$2" +%Y%m%d%H%M%S 2>/dev/null || date -u -r "$2" +%Y%m%d%H%M%S)
		echo "0.0.0-$at-${1:0:12}"
	fi
}

if [ "$(git rev-parse --show-toplevel 2>/dev/null)" = "$(pwd -P)" ]; then
	read -r commit time < <(git show -s --format='%H %ct' HEAD)
	tag=$(git describe --tags --match='v[0-9]*' 2>/dev/null || true)
	changed=$(git status --porcelain --untracked-files=no)
	version=$(name_commit "$commit" "$time" "$tag")${changed:++dirty}
else
	read -r commit time tag <release/source.txt || true
	if [[ $commit == [0-9a-f]* ]]; then
		version=$(name_commit "$commit" "$time" "$tag")
	else
		version=unknown commit= time=0
	fi
fi
if [ "${1:-}" = ldflags ]; then
	echo "-X main.version=$version -X main.commit=$commit"
else
	echo "$version ${commit:-unknown} $time"
fi
