#!/bin/sh
# Runs every test. Installs the Debian packages that the whole-server tests need when they are missing (as root or with
# sudo), and says so. Arguments go to the test runner: `tests/run.sh -p conduit-shard` runs one crate's tests.
set -eu
cd "$(dirname "$0")/.."

# Packages of the foreign clients that the whole-server tests speak with. A command or a Python module proves presence.
missing=""
need() { # command, package
    command -v "$1" >/dev/null 2>&1 || missing="$missing $2"
}
need cc gcc
need make make
need curl curl
need jq jq
need node nodejs
need npm npm
# Trials that end file systems run as root only; elsewhere they say so and are skipped.
[ "$(id -u)" -ne 0 ] || need mkfs.ext4 e2fsprogs
# The system's Python, not whichever stands first on PATH: only it sees Debian's modules.
[ -x /usr/bin/python3 ] || missing="$missing python3"
/usr/bin/python3 -c 'import websockets' 2>/dev/null || missing="$missing python3-websockets"

if [ -n "$missing" ]; then
    as_root=""
    if [ "$(id -u)" -ne 0 ]; then
        command -v sudo >/dev/null 2>&1 || {
            echo "tests/run.sh: install these Debian packages first (no root, no sudo here):$missing" >&2
            exit 1
        }
        as_root="sudo"
    fi
    echo "tests/run.sh: installing Debian packages:$missing"
    # The list is words on purpose.
    # shellcheck disable=SC2086
    { $as_root apt-get update -q && DEBIAN_FRONTEND=noninteractive $as_root apt-get install -qy --no-install-recommends $missing; } || {
        echo "tests/run.sh: the packages could not be installed:$missing" >&2
        exit 1
    }
fi

# The npm packages `ws` and `@msgpack/msgpack`, kept out of the repository.
target="${CARGO_TARGET_DIR:-target}"
case "$target" in /*) ;; *) target="$PWD/$target" ;; esac
foreign="$target/foreign"
if [ ! -d "$foreign/node_modules/ws" ] || [ ! -d "$foreign/node_modules/@msgpack/msgpack" ]; then
    echo "tests/run.sh: installing the npm packages ws and @msgpack/msgpack into $foreign"
    mkdir -p "$foreign"
    npm install --prefix "$foreign" --no-audit --no-fund --no-save --loglevel=error ws@8 @msgpack/msgpack@3
fi

# What the tests find their foreign clients by. Not named CONDUIT_*: the server refuses such names that it does not know.
export FOREIGN_NODE_PATH="$foreign/node_modules"
export FOREIGN_PYTHON=/usr/bin/python3

# A server needs a descriptor for each connection, and the tests open many.
ulimit -n "$(ulimit -H -n)" 2>/dev/null || true

everything=false
if [ "$#" -eq 0 ]; then
    everything=true
    set -- --workspace
fi
# What needs a server that can end itself at named places: another build.
failpoints() { # how to test
    cargo "$@" --workspace --features conduit/failpoints --test failpoints --lib failpoint
}
# That the simulator finds the bugs that are planted: another build of the core, and of nothing else.
mutants() { # how to test
    cargo "$@" -p conduit-shard --features mutants --test mutants
}
if cargo nextest --version >/dev/null 2>&1; then
    cargo nextest run "$@"
    if "$everything"; then
        # nextest leaves documentation examples out.
        cargo test --workspace --doc -q
        failpoints nextest run
        mutants nextest run
    fi
else
    echo "tests/run.sh: cargo-nextest is not installed; cargo test runs the same tests"
    cargo test "$@"
    if "$everything"; then failpoints test && mutants test; fi
fi
