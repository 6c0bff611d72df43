#!/usr/bin/env bash
# Installs the programs that some tests use, where they are missing: PostgreSQL, chromium, Slurm with two users.
# Nothing is started. As root, on Debian or what descends from it.
set -euo pipefail
packages=(postgresql chromium slurmctld slurmd slurm-client slurmdbd mariadb-server munge)
missing=()
for package in "${packages[@]}"; do
	dpkg -s "$package" 2>/dev/null | grep -q '^Status: install ok installed' || missing+=("$package")
done
if [ ${#missing[@]} -gt 0 ]; then
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
fi
for user in thon-ada thon-bob; do
	id $user >/dev/null 2>&1 || useradd --create-home --shell /bin/bash $user
done
getent hosts thon-n1 >/dev/null || echo "127.0.0.1 thon-n1 thon-n2 thon-n3" >>/etc/hosts
