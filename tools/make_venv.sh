#!/bin/sh
# Makes .venv with pip in it, unless it is there: make_venv.sh [PYTHON]. Without PYTHON it takes the first that fits,
# rather one that can make a virtual environment by itself. Debian's Python comes without that part: root installs it,
# anybody else is told the command.
set -u
python=${1:-}

fits() {
    "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null
}

makes_venv() {
    "$1" -c 'import ensurepip, venv' 2>/dev/null
}

refuse() {
    echo "$1" >&2
    exit 2
}

chosen() {
    for test in makes_venv fits; do
        for name in python3.11 python3.12 python3.13 python3 python; do
            fits "$name" && "$test" "$name" && command -v "$name" && return
        done
    done
}

# The programs of a virtual environment know their own path: one that was moved or copied here does not work.
case "$(head -n 1 .venv/bin/pip 2>/dev/null)" in
    "#!$(pwd -P)/.venv/bin/"*) .venv/bin/python -m pip --version >/dev/null 2>&1 && exit 0 ;;
esac

if [ -z "$python" ]; then
    python=$(chosen) || true
    [ -n "$python" ] || refuse "no Python 3.11 to 3.13 found; install one (on Debian and Ubuntu: apt-get install \
python3), or name it: make install PYTHON=/path/to/python3.11"
elif ! command -v "$python" >/dev/null; then
    refuse "there is no $python here; leave PYTHON out, or name another: make install PYTHON=/path/to/python3.11"
elif ! fits "$python"; then
    refuse "the mesh needs Python 3.11 to 3.13, and $python says it is '$("$python" -V 2>&1 | head -n 1)'; \
name another: make install PYTHON=/path/to/python3.11"
fi

if ! makes_venv "$python"; then
    package=$("$python" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')
    if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
        refuse "$python cannot make a virtual environment yet; run this as root, then make again:
    apt-get install $package"
    fi
    echo "$python cannot make a virtual environment yet; installing $package"
    told=$(apt-get update -qq 2>&1 && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq "$package" 2>&1) ||
        refuse "$told
$package could not be installed: see above, is there a network? then make again"
fi
rm -rf .venv
"$python" -m venv .venv || refuse "$python could not make .venv; mend what it says above, then make again"
