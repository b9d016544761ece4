#!/usr/bin/env bash
# sanitize.sh [address|valgrind|duckdb]...: the crate's tests and a DuckDB session, watched for wrong memory accesses.
#
#   address   the tests under AddressSanitizer (a nightly Rust); every instruction set that the processor has
#   valgrind  the unit tests and undamaged models under valgrind, which knows no AVX-512: up to AVX2
#   duckdb    a DuckDB session with the extension loaded under valgrind: the statements of test/sql/ and a scan of two
#             threads (DUCKDB names a shell of 1.5.6 or later; python3 has to have the package duckdb)
#
# Without arguments: all of them; what is not installed is said and left out.
set -euo pipefail
cd "$(dirname "$0")"
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-target}
export SQLML_MUTATIONS=${SQLML_MUTATIONS:-3000}
host=x86_64-unknown-linux-gnu

has_nightly() { rustup run nightly rustc -vV > /dev/null 2>&1; }

address() {
  has_nightly || { echo "address: left out, there is no nightly Rust" >&2; return 0; }
  # Leaks are looked for by LeakSanitizer, which is part of it.
  RUSTFLAGS="-Zsanitizer=address" cargo +nightly test --quiet --lib --tests --target "$host" \
    --target-dir "$CARGO_TARGET_DIR/address"
}

valgrind_tests() {
  command -v valgrind > /dev/null || { echo "valgrind: left out, it is not installed" >&2; return 0; }
  # Damaged models cost minutes there and have AddressSanitizer.
  # One process: valgrind watches the one that it starts.
  SQLML_ONE_PROCESS=1 SQLML_MUTATIONS=${SQLML_VALGRIND_MUTATIONS:-50} SQLML_ISA=avx2 \
    CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER="valgrind --quiet --error-exitcode=99 --leak-check=no" \
    cargo test --quiet --lib --test mutation
}

duckdb_session() {
  local shell=${DUCKDB:-$(command -v duckdb || true)}
  [ -n "$shell" ] || { echo "duckdb: left out, DUCKDB names no shell" >&2; return 0; }
  command -v valgrind > /dev/null || { echo "duckdb: left out, valgrind is not installed" >&2; return 0; }
  cargo build --quiet
  local folder=$CARGO_TARGET_DIR/valgrind model=$CARGO_TARGET_DIR/valgrind/model.onnx
  mkdir -p "$folder"
  python3 append_metadata.py "$CARGO_TARGET_DIR/debug/libsqlml.so" "$folder/sqlml.duckdb_extension"
  SQLML_WRITE_MODEL=$model cargo test --quiet --test mutation a_model_to_show -- --ignored > /dev/null
  local scan="SELECT sum(sqlml_f64(getvariable('model'), NULL, NULL, i / 7e3 - 2, random(), CASE WHEN i % 5 > 0 THEN 0.5 END))"
  {
    python3 test/run.py --print
    echo "SET threads = 2; CREATE TABLE many AS SELECT i FROM range(400000) r(i);"
    echo "SET VARIABLE model = (SELECT sqlml_load(content) FROM read_blob('$model'));"
    echo "$scan FROM many;"
    echo "SELECT sqlml_version(), length(sqlml_describe(getvariable('model'))), count(*) FROM sqlml_models();"
  } > "$folder/session.sql"
  # Some statements are to fail, so the shell ends with 1; a crash ends with more.
  local code=0
  SQLML_ISA=avx2 valgrind --quiet --leak-check=no --error-limit=no --num-callers=40 --log-file="$folder/log" \
    "$shell" -unsigned -cmd "LOAD '$folder/sqlml.duckdb_extension'" < "$folder/session.sql" > "$folder/out" 2>&1 || code=$?
  tail -n 6 "$folder/out"
  # What DuckDB itself does to memory is not looked at: only reports with the extension on the stack count.
  if [ "$code" -gt 1 ] || ! grep -q avx2 "$folder/out" || grep -q sqlml "$folder/log"; then
    echo "duckdb: the shell ended with $code" >&2
    cat "$folder/log" >&2
    return 1
  fi
}

[ $# -gt 0 ] || set -- address valgrind duckdb
for what in "$@"; do
  case $what in
    address) address ;;
    valgrind) valgrind_tests ;;
    duckdb) duckdb_session ;;
    *) echo "sanitize.sh [address|valgrind|duckdb]..., not $what" >&2; exit 2 ;;
  esac
done
