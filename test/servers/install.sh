#!/bin/sh
# Installs what the tests' own servers need and the machine lacks; does nothing when all is there.
set -eu
if ! command -v redis-server >/dev/null; then
  [ "$(id -u)" = 0 ] || { echo "redis-server is missing: install it, or run this as root" >&2; exit 1; }
  echo "installing redis-server"
  # The package must not start an instance of its own.
  policy=/usr/sbin/policy-rc.d
  [ -e "$policy" ] || { printf '#!/bin/sh\nexit 101\n' > "$policy"; chmod +x "$policy"; trap 'rm -f "$policy"' EXIT; }
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends redis-server >/dev/null
fi
