#!/usr/bin/env bash
# aarch64.sh [options of cargo test]: the crate for 64-bit ARM, on an x86-64 Debian without any ARM machine.
#
# Compiles for aarch64-unknown-linux-gnu, runs the tests of the portable kernels under qemu's user mode, makes
# sqlml.duckdb_extension for DuckDB's platform linux_arm64 and, with DUCKDB_AARCH64 naming an ARM duckdb shell
# (PyPI's duckdb-cli has one), loads it there.
#
# Needs a C linker for ARM, qemu's user mode and ARM's C library: apt-get install gcc-aarch64-linux-gnu
# libc6-dev-arm64-cross qemu-user. The standard library for ARM comes from rustup when it is there, else from Debian: its
# compiler is unpacked beside the build, never installed, because libraries and compiler must be of one build.
# What is missing is said; with CI=true that is a failure, else the check is left out.
set -euo pipefail
cd "$(dirname "$0")"

triple=aarch64-unknown-linux-gnu
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-target}
mkdir -p "$CARGO_TARGET_DIR"
CARGO_TARGET_DIR=$(cd "$CARGO_TARGET_DIR" && pwd)
tools=$CARGO_TARGET_DIR/debian-rust

leave_out() { # reason
  echo "aarch64: left out, because $1" >&2
  [ "${CI:-}" = true ] && command -v cargo > /dev/null && exit 1
  exit 0
}

fetch_debian_rust() { # the newest rustc-web of this Debian with the standard libraries of both architectures
  local state=$tools/apt package dependency newest
  mkdir -p "$state/lists/partial" "$state/cache/archives/partial" "$tools/debs"
  # Lists of our own: adding an architecture to the machine's apt would change what everything else installs.
  local apt=(-qq -o APT::Architecture=amd64 -o APT::Architectures::=amd64 -o APT::Architectures::=arm64
    -o "Dir::State::Lists=$state/lists" -o "Dir::Cache=$state/cache" -o APT::Sandbox::User=root)
  apt-get "${apt[@]}" update
  newest=$(apt-cache "${apt[@]}" show rustc-web | sed -n 's/^Version: //p' | head -n 1)
  local wanted=("rustc-web=$newest" "libstd-rust-web-dev=$newest" "libstd-rust-web-dev:arm64=$newest")
  # The compiler itself is a library, and so is the LLVM that it was linked with.
  package=$(apt-cache "${apt[@]}" show "libstd-rust-web-dev=$newest" | grep -oE 'libstd-rust-web-[0-9.]+' | head -n 1)
  wanted+=("$package=$newest")
  dependency=$(apt-cache "${apt[@]}" show "$package=$newest" | grep -oE 'libllvm[0-9]+' | head -n 1)
  wanted+=("$dependency")
  (cd "$tools/debs" && apt-get "${apt[@]}" download "${wanted[@]}")
  for package in "$tools"/debs/*.deb; do dpkg -x "$package" "$tools/root"; done
  rm -r "$tools/debs" "$state"
  cat > "$tools/rustc" <<SCRIPT
#!/bin/sh
LD_LIBRARY_PATH='$tools/root/usr/lib/x86_64-linux-gnu' exec '$tools/root/usr/bin/rustc' "\$@"
SCRIPT
  chmod +x "$tools/rustc"
}

command -v cargo > /dev/null || leave_out "cargo is not installed"
if [ "$(uname -m)" != aarch64 ]; then
  command -v aarch64-linux-gnu-gcc > /dev/null || leave_out "there is no aarch64-linux-gnu-gcc (gcc-aarch64-linux-gnu)"
  command -v qemu-aarch64 > /dev/null || leave_out "there is no qemu-aarch64 (qemu-user)"
  [ -e /usr/aarch64-linux-gnu/lib/libc.so.6 ] || leave_out "there is no C library for it (libc6-dev-arm64-cross)"
  if [ ! -d "$(rustc --print target-libdir --target "$triple")" ]; then
    if ! { [ -x "$tools/rustc" ] && "$tools/rustc" -vV > /dev/null 2>&1; }; then
      command -v apt-get > /dev/null || leave_out "this Rust has no standard library for it (rustup target add $triple)"
      rm -rf "$tools"
      fetch_debian_rust || leave_out "Debian's Rust could not be fetched"
    fi
    "$tools/rustc" -vV > /dev/null || leave_out "Debian's Rust does not run here (apt-get install rustc-web)"
    export RUSTC=$tools/rustc
    unset RUSTUP_TOOLCHAIN
  fi
  export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc
  export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER="qemu-aarch64 -L /usr/aarch64-linux-gnu"
fi
# Objects of two compilers must not meet: what the other one built would only be built again, each time.
export CARGO_TARGET_DIR=$CARGO_TARGET_DIR/aarch64

# An emulated processor is some twenty times slower: mutations as few as show that they work.
SQLML_MUTATIONS=${SQLML_MUTATIONS:-2000} cargo test --quiet --lib --tests --profile quick --target "$triple" "$@"

cargo build --quiet --profile quick --target "$triple"
made=$CARGO_TARGET_DIR/$triple/quick
python3 append_metadata.py "$made/libsqlml.so" "$made/sqlml.duckdb_extension" --platform linux_arm64
echo "aarch64: tests passed; $(du -h "$made/sqlml.duckdb_extension" | cut -f 1) for linux_arm64"

if [ -n "${DUCKDB_AARCH64:-}" ]; then
  run=()
  [ "$(uname -m)" = aarch64 ] || run=(qemu-aarch64 -L /usr/aarch64-linux-gnu)
  "${run[@]}" "$DUCKDB_AARCH64" -unsigned -c "LOAD '$made/sqlml.duckdb_extension'" -c "SELECT sqlml_version()" \
    -c "SELECT platform FROM pragma_platform()"
fi
