#!/bin/sh
# Make .venv, build the native ring, install the package with an extra. Says in one line what is missing.
set -eu
extra=$1
cd "$(dirname "$0")/.."

fail() {
    printf 'mulletdaq: %s\n' "$1" >&2
    exit 1
}

# at_least FOUND WANTED: both dotted versions.
at_least() {
    [ "$(printf '%s\n%s\n' "$2" "$1" | sort -V | head -n 1)" = "$2" ]
}

[ "$(uname -s)" != Windows_NT ] || fail "Windows is not supported; use WSL 2 or Linux"

python=""
for candidate in ${PYTHON:-python3 python3.14 python3.13 python3.12 python3.11}; do
    if command -v "$candidate" >/dev/null 2>&1 &&
        "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
        python=$candidate
        break
    fi
done
[ -n "$python" ] || fail "needs Python 3.11 or newer as python3; get it with: sudo apt install python3.11-venv (or from python.org)"
"$python" -c 'import ensurepip, venv' 2>/dev/null ||
    fail "Python's venv module is missing; get it with: sudo apt install python3-venv"

rust_wanted=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
get_rust="get it from https://rustup.rs, or with: rustup update stable"
command -v cargo >/dev/null 2>&1 || fail "needs cargo $rust_wanted or newer, and there is none; $get_rust"
rust_found=$(rustc --version | cut -d' ' -f2)
at_least "$rust_found" "$rust_wanted" || fail "needs Rust $rust_wanted or newer, this is $rust_found; $get_rust"
if [ "$extra" = test ]; then
    cargo clippy --version >/dev/null 2>&1 || fail "needs clippy for the checks; get it with: rustup component add clippy"
    cargo fmt --version >/dev/null 2>&1 || fail "needs rustfmt for the checks; get it with: rustup component add rustfmt"
fi
command -v cc >/dev/null 2>&1 || fail "needs a C linker; get it with: sudo apt install gcc"

if ! .venv/bin/python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
    printf 'mulletdaq: making .venv with %s\n' "$("$python" --version)"
    rm -rf .venv
    "$python" -m venv .venv
fi
unset CONDA_PREFIX PYTHONPATH PYTHONHOME
export VIRTUAL_ENV="$PWD/.venv" PATH="$PWD/.venv/bin:$PATH" PIP_DISABLE_PIP_VERSION_CHECK=1
printf 'mulletdaq: installing what mulletdaq[%s] needs (the first time this downloads some 100 MB)\n' "$extra"
python tools/requirements.py "$extra" >.venv/requirements.txt
python -m pip install --quiet --requirement .venv/requirements.txt
printf 'mulletdaq: building the native ring and installing mulletdaq (the first time this takes a minute)\n'
maturin develop --release --locked >/dev/null # cargo shows its progress on standard error
