#!/usr/bin/env bash
# Brings the Debian packages that the examples and their tests need: installs the missing ones as root, otherwise says which.
set -euo pipefail

wanted=(curl imagemagick ffmpeg tesseract-ocr figlet jq nginx-light wrk default-jdk-headless nodejs
    cmark qrencode docker.io docker-registry debootstrap iproute2 iptables busybox-static musl-tools gcc gcc-aarch64-linux-gnu qemu-user skopeo
    prometheus prometheus-alertmanager git buildah golang-go ruby php-cli rclone golang-github-masterminds-sprig-dev golang-github-ghodss-yaml-dev
    etcd-server make rsync dpkg-dev golang-github-modern-go-reflect2-dev openssl)

# Other packages of Node bring npm with them, which Debian's own then stands in conflict with.
command -v npm >/dev/null || wanted+=(npm)

if ! command -v dpkg-query >/dev/null; then
    echo "Not Debian: install these by your own package manager for the whole test run: ${wanted[*]}"
    exit 0
fi

missing=()
for package in "${wanted[@]}"; do
    # shellcheck disable=SC2016 # the format is dpkg's, not the shell's
    dpkg-query -W -f '${db:Status-Status}\n' "$package" 2>/dev/null | grep -qx installed || missing+=("$package")
done

if [ ${#missing[@]} -eq 0 ]; then
    exit 0
elif [ "$(id -u)" -eq 0 ]; then
    echo "Installing ${missing[*]}"
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq
    # As in runlevel 1 no service is started: nginx is wanted as a program here, not on port 80.
    RUNLEVEL=1 apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
else
    echo "Some tests will be skipped. To run all of them: sudo apt-get install ${missing[*]}"
fi
