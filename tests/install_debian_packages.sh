#!/usr/bin/env bash
# Installs the Debian packages that some tests need. Tests that lack one skip, and the end of the
# run says so. Quick where all are there; without root or apt it only says what is missing.
#
#     tests/install_debian_packages.sh
set -euo pipefail

# openssh: ssh devices. adb, and Android's shell mksh: adb devices. node: WebAssembly.
# javac: Kotlin. chromium: web pages. npm: their runtimes. cmake, g++: C and C++. dicom3tools: DICOM
# segmentations. The rest: an ARM64 userland.
declare -A programs=(
    [openssh-client]=ssh
    [openssh-server]=sshd
    [adb]=adb
    [mksh]=mksh
    [debootstrap]=debootstrap
    [qemu-user-static]=qemu-aarch64-static
    [nodejs]=node
    [cmake]=cmake
    [g++]=g++
    [make]=make
    [npm]=npm
    [chromium]=chromium
    [openjdk-17-jdk-headless]=javac
    [dicom3tools]=dciodvfy
)
PATH=$PATH:/usr/sbin:/sbin
missing=()
for package in "${!programs[@]}"; do
    command -v "${programs[$package]}" >/dev/null || missing+=("$package")
done
[ ${#missing[@]} -eq 0 ] && exit 0

if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
    echo "Not installed: ${missing[*]}. As root: apt-get install ${missing[*]}" >&2
    exit 0
fi
# The tests start sshd themselves; installing it must not open the machine to the network.
if [[ " ${missing[*]} " == *" openssh-server "* ]]; then
    mkdir -p /etc/ssh
    touch /etc/ssh/sshd_not_to_be_run
    echo "sshd will not start by itself; remove /etc/ssh/sshd_not_to_be_run to have it so." >&2
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
