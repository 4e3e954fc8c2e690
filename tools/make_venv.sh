#!/bin/sh
# Makes .venv with pip in it. Debian's Python may come without ensurepip; root installs the missing package, anybody
# else is told the command.
set -u
python=$1

if [ -z "$python" ]; then
    echo "no Python found; install Python 3.11, 3.12 or 3.13 (on Debian: apt-get install python3)" >&2
    exit 2
fi
if ! "$python" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))'; then
    echo "$python is $("$python" -V 2>&1); the mesh needs Python 3.11 to 3.13: make install PYTHON=/path/to/python3.11" >&2
    exit 2
fi
[ -x .venv/bin/pip ] && exit 0
rm -rf .venv
"$python" -m venv .venv >/dev/null 2>&1 && exit 0

version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
rm -rf .venv
if [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null 2>&1; then
    echo "this Python has no venv; installing python$version-venv"
    { apt-get update -qq && apt-get install -y -qq "python$version-venv"; } >/dev/null || exit 2
    exec "$python" -m venv .venv
fi
echo "this Python cannot make a virtual environment; run: apt-get install python$version-venv  (then make again)" >&2
exit 2
