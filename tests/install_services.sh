#!/usr/bin/env bash
# Installs the programs that some tests use, where they are missing: PostgreSQL, Slurm with its accounting, chromium.
# Nothing is started. As root, on Debian or what descends from it.
set -euo pipefail
packages=(postgresql slurmctld slurmd slurm-client slurmdbd mariadb-server munge sudo chromium)
missing=()
for package in "${packages[@]}"; do
	dpkg -s "$package" 2>/dev/null | grep -q '^Status: install ok installed' || missing+=("$package")
done
[ ${#missing[@]} -eq 0 ] && exit 0
echo "Installing ${missing[*]}"
# Debian starts services as it installs them, unless this says no.
policy=/usr/sbin/policy-rc.d
if [ ! -e $policy ]; then
	printf '#!/bin/sh\nexit 101\n' >$policy
	chmod +x $policy
	trap 'rm -f $policy' EXIT
fi
apt-get update -qq
DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=600 install -y -qq --no-install-recommends "${missing[@]}"
