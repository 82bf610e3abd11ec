#!/bin/sh
# Installs what the tests' own servers need and the machine lacks; does nothing when all is there.
set -eu
# Installs Debian packages that must not start an instance of their own.
install_idle() {
  echo "installing $*"
  policy=/usr/sbin/policy-rc.d
  [ -e "$policy" ] || { printf '#!/bin/sh\nexit 101\n' > "$policy"; chmod +x "$policy"; trap 'rm -f "$policy"' EXIT; }
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null
}
if ! command -v redis-server >/dev/null; then
  [ "$(id -u)" = 0 ] || { echo "redis-server is missing: install it, or run this as root" >&2; exit 1; }
  install_idle redis-server
fi
# Without it only the tests of the alert rules are skipped.
if ! command -v promtool >/dev/null; then
  if [ "$(id -u)" = 0 ]; then install_idle prometheus; else echo "promtool is missing: install prometheus" >&2; fi
fi
lib="${EFFECT_SAGA_SERVERS:-$HOME/.cache/effect-saga/servers}/neo4j-5.26.0/lib"
if [ ! -d "$lib" ]; then
  command -v java >/dev/null && command -v mvn >/dev/null || {
    [ "$(id -u)" = 0 ] || { echo "Java 17 and Maven are missing: install them, or run this as root" >&2; exit 1; }
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends openjdk-17-jre-headless maven >/dev/null
  }
  echo "fetching Neo4j with Maven"
  rm -rf "$lib.part"
  mvn -q -B -f "$(dirname "$0")/neo4j/pom.xml" dependency:copy-dependencies -DoutputDirectory="$lib.part"
  # Only a whole folder counts as there.
  mv "$lib.part" "$lib"
fi
qdrant="${EFFECT_SAGA_SERVERS:-$HOME/.cache/effect-saga/servers}/qdrant-edge-0.9.0"
if [ ! -e "$qdrant/.done" ]; then
  python3 -c 'import venv, ensurepip, sys; assert sys.version_info >= (3, 10)' 2>/dev/null || {
    [ "$(id -u)" = 0 ] || { echo "Python 3.10 with venv is missing: install it, or run this as root" >&2; exit 1; }
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends python3-venv >/dev/null
  }
  echo "installing Qdrant's engine"
  # The folder cannot be moved once it is made, so a file in it says that it is whole.
  rm -rf "$qdrant"
  mkdir -p "$(dirname "$qdrant")"
  python3 -m venv "$qdrant"
  "$qdrant/bin/pip" install -q --disable-pip-version-check --only-binary :all: qdrant-edge-py==0.9.0
  touch "$qdrant/.done"
fi
