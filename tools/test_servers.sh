#!/bin/sh
# Sees to the servers and tools that tests start for themselves: test_servers.sh. Root installs what is absent from the packages
# of Debian or Ubuntu, without letting them run as services; anybody else is told the command.
set -u
PATH=$PATH:/usr/sbin:/sbin

absent=
need() { # PROGRAM PACKAGE
    command -v "$1" >/dev/null || absent="$absent $2"
}

need redis-server redis-server
need prometheus prometheus
need ip iproute2
need nft nftables

[ -n "$absent" ] || exit 0
if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
    echo "tests start these servers, which are not installed:$absent; run this as root, then make again:
    apt-get install$absent" >&2
    exit 2
fi
echo "installing the servers that tests start:$absent"
policy=/usr/sbin/policy-rc.d # Debian asks it whether a service just installed may start
if [ ! -e $policy ]; then
    printf '#!/bin/sh\nexit 101\n' >$policy && chmod 755 $policy
    trap 'rm -f $policy' EXIT
fi
# shellcheck disable=SC2086 # one word per package
told=$(apt-get update -qq 2>&1 && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq $absent 2>&1) || {
    echo "$told
$absent could not be installed: see above, is there a network? then make again" >&2
    exit 2
}
