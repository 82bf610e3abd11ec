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
