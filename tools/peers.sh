#!/bin/sh
# Make .venv/peers, an environment that sees all of .venv, and install the rivals of `make bench` there: tests run without
# them. A package that cannot be had is left out, and not-installed.txt says why.
set -eu
cd "$(dirname "$0")/.."
peers=.venv/peers
export PIP_DISABLE_PIP_VERSION_CHECK=1

packages_of() {
    "$1" -c 'import sysconfig; print(sysconfig.get_path("purelib"))'
}

.venv/bin/python -m venv "$peers"
printf 'import site; site.addsitedir("%s")\n' "$(packages_of .venv/bin/python)" >"$(packages_of "$peers/bin/python")/outer.pth"
ln -sf ../../bin/mullet "$peers/bin/mullet"
: >"$peers/not-installed.txt"
.venv/bin/python tools/requirements.py peers | grep -v '^maturin' | while read -r requirement; do
    printf 'mulletdaq: installing %s\n' "$requirement"
    if ! said=$("$peers/bin/python" -m pip install --quiet "$requirement" 2>&1); then
        reason=$(printf '%s\n' "$said" | tail -n 1)
        printf '%s\t%s\n' "$requirement" "$reason" >>"$peers/not-installed.txt"
        printf 'mulletdaq: left out: %s: %s\n' "$requirement" "$reason" >&2
    fi
done
