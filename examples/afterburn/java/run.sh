#!/bin/sh
# Runs a Java function whose sources are beside this file: run.sh CLASS [ARGUMENT]...
#
# The first process of a replica compiles them into the replica's own TMPDIR, the others find them there. Processes that
# start at the same time may all compile; whoever is first moves the classes into place, whole. $JAVA_OPTIONS is split.
set -eu

here=$(dirname "$0")
places=${TMPDIR:-${XDG_CACHE_HOME:-$HOME/.cache}}
classes=$places/classes-$(cat "$here"/*.java | sha256sum | cut -c 1-16)

if [ ! -d "$classes" ]; then
    mkdir -p "$places"
    fresh=$(mktemp -d "$places/compiling-XXXXXX")
    # stdin and stdout are for HTTP alone. The option: Afterburn.java asks for SIGTERM by an interface of the JDK's own.
    javac -XDignore.symbol.file -d "$fresh" "$here"/*.java </dev/null >&2 || {
        rm -rf "$fresh"
        exit 1
    }
    mv -T "$fresh" "$classes" 2>/dev/null || rm -rf "$fresh"
fi
if [ ! -O "$classes" ]; then
    echo "$classes belongs to somebody else" >&2
    exit 1
fi

# Without the first three the machine's own warnings would appear on stdout, between two answers.
# shellcheck disable=SC2086 # several options in one variable
exec java -XX:+DisplayVMOutputToStderr -Xlog:disable -Xlog:all=warning:stderr \
    -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -XX:+ExitOnOutOfMemoryError ${JAVA_OPTIONS:-} -cp "$classes" "$@"
