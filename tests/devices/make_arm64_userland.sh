#!/usr/bin/env bash
# Makes an ARM64 Debian 12 with Python 3.11, numpy and the runtimes, which this machine's kernel
# runs through qemu-user-static. Half a minute, 300 MB. Needs root and the packages of
# tests/install_debian_packages.sh.
#
#     tests/devices/make_arm64_userland.sh FOLDER PYTHON
#
# FOLDER must not exist and appears whole or not at all. PYTHON is one with pip.
#
# debootstrap's second stage is left out: it would configure every package under emulation, for
# minutes, of which the runners need nothing. Unpacking is enough, and done by this machine.
set -euo pipefail

folder=$1
python=$2
release=bookworm
# Older than those of constraints.txt: ONNX Runtime 1.32 ends in a segmentation fault under the
# emulator of Debian 12 (7.2) when it is loaded, LiteRT 2.3 when it computes.
runtimes=(ai-edge-litert==2.1.0 onnxruntime==1.23.0)
binfmt=/proc/sys/fs/binfmt_misc

[ "$(id -u)" -eq 0 ] || { echo "only root can make it" >&2; exit 1; }
PATH=$PATH:/usr/sbin:/sbin

# The kernel opens the interpreter now (flag F), so that it is found in the ARM64 tree as well.
[ -e $binfmt/register ] || mount -t binfmt_misc none $binfmt
if [ ! -e $binfmt/qemu-aarch64 ]; then
    cat /usr/lib/binfmt.d/qemu-aarch64.conf >$binfmt/register
fi

# The mirror, and the proxy if there is one, are those of this machine's apt.
mirror=$(apt-get indextargets --format '$(ORIGIN) $(CODENAME) $(REPO_URI)' 'Created-By: Packages' |
    awk '$1 == "Debian" && $2 !~ /security|updates|backports/ { print $3; exit }')
[ -n "$mirror" ] || { echo "apt knows no Debian mirror" >&2; exit 1; }
proxy=$(apt-config dump --format '%v' Acquire::http::Proxy)
[ -z "$proxy" ] || export http_proxy=$proxy

partial=$folder.partial-$$
trap 'rm -rf "$partial"' EXIT
rm -rf "$partial"
mkdir -p "$partial/root"
debootstrap --arch=arm64 --foreign --variant=minbase --include=python3,python3-numpy \
    $release "$partial/root" "$mirror" >"$partial/log" 2>&1 ||
    { tail -n 3 "$partial/log" >&2; exit 1; }
for package in "$partial"/root/var/cache/apt/archives/*.deb; do
    dpkg-deb -x "$package" "$partial/root"
done
rm -rf "$partial"/root/var/cache/apt/archives "$partial"/root/debootstrap
for name in passwd group; do
    cp "$partial/root/usr/share/base-passwd/$name.master" "$partial/root/etc/$name"
done
# What the packages' scripts would make and choose.
mkdir -p "$partial/root/mnt"
libraries=$partial/root/usr/lib/aarch64-linux-gnu
ln -s blas/libblas.so.3 lapack/liblapack.so.3 "$libraries"

# The wheels name the oldest C library that they run on; bookworm has 2.36.
platforms=$(for minor in 17 27 28 31 34; do echo "--platform manylinux_2_${minor}_aarch64"; done)
"$python" -m pip download -qq --no-deps --only-binary=:all: --python-version 3.11 $platforms \
    --dest "$partial/wheels" "${runtimes[@]}"
for wheel in "$partial"/wheels/*.whl; do
    "$python" -m zipfile -e "$wheel" "$partial/root/usr/lib/python3/dist-packages"
done
mv -T "$partial/root" "$folder"
