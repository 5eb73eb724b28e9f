#!/usr/bin/env bash
# Builds the launcher of the portable watchdog for every machine whose compiler is installed, into DIR or beside its source.
# Debian: apt-get install gcc gcc-aarch64-linux-gnu
set -euo pipefail
cd "$(dirname "$0")/../src/penstock/watchdog/bundle/launcher"
into=${1:-.}

for machine in x86_64 aarch64; do
    compiler=$machine-linux-gnu-gcc
    if ! command -v "$compiler" >/dev/null; then
        echo "no $compiler: the launcher for $machine is left as it is" >&2
        continue
    fi
    # One segment, no sections that the kernel does not need: what is left is about a page.
    "$compiler" -std=c11 -Os -Wall -Wextra -Werror -ffreestanding -nostdlib -static -fno-pie -no-pie -fno-stack-protector \
        -fno-asynchronous-unwind-tables -fno-unwind-tables -fcf-protection=none -fno-tree-loop-distribute-patterns \
        -Wl,-z,noseparate-code -Wl,-z,noexecstack -Wl,--build-id=none -Wl,-s \
        -o "$into/launcher-$machine" launcher.c 2>&1 ||
        exit 1
    "$machine-linux-gnu-strip" -R .comment "$into/launcher-$machine"
    chmod 755 "$into/launcher-$machine"
done
