#!/usr/bin/env bash
# Makes a machine ready: `scripts/setup.sh` for the virtual environment, `scripts/setup.sh vllm` for one with vLLM,
# `scripts/setup.sh servers NAME...` for programs that tests and benchmarks start. Safe to repeat. As root on Debian,
# what is missing is installed; otherwise the script says what to install and stops.
set -euo pipefail
cd "$(dirname "$0")/.."

PYTHON="${PYTHON:-python3}"
VENV="${VENV:-.venv}"
SWIFT=2.38.3
TORCH="${TORCH:-}" # another version of torch than the one in constraints-dev.txt

say() { printf '%s\n' "setup: $*" >&2; }

fail() {
    say "$*"
    exit 1
}

# install_packages PACKAGE...: by apt-get where we may, else fails and says what is wanted.
install_packages() {
    if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
        fail "missing: $*. On Debian: sudo apt-get install $*"
    fi
    say "installing $*"
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq || say "apt-get update failed; trying with the lists that are here"
    apt-get install -y -qq --no-install-recommends "$@" >/dev/null
}

check_python() {
    command -v "$PYTHON" >/dev/null || install_packages python3
    "$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
        fail "$("$PYTHON" --version) is too old; Python 3.11 or newer is needed (choose one by PYTHON=...)"
}

# Inductor compiles C++ on a CPU: it needs a compiler, and Python's headers.
install_build_tools() {
    local missing=()
    "$PYTHON" -c 'import ensurepip, venv' 2>/dev/null || missing+=(python3-venv)
    "$PYTHON" -c 'import os, sys, sysconfig
sys.exit(not os.path.exists(os.path.join(sysconfig.get_path("include"), "Python.h")))' || missing+=(python3-dev)
    command -v g++ >/dev/null || missing+=(g++)
    [ ${#missing[@]} = 0 ] || install_packages "${missing[@]}"
}

install_venv() {
    [ -x "$VENV/bin/python" ] || "$PYTHON" -m venv "$VENV"
    say "installing the dependencies into $VENV; the first time takes some minutes"
    local constraints=constraints-dev.txt
    if [ -n "$TORCH" ]; then # which decides about Triton and its other needs, too
        constraints="$VENV/constraints.txt"
        grep -vE '^(torch|triton|nvidia-.*|cuda-.*)==' constraints-dev.txt >"$constraints"
        echo "torch==$TORCH" >>"$constraints"
    fi
    "$VENV/bin/python" -m pip install -qq --disable-pip-version-check --no-compile \
        --constraint "$constraints" --editable '.[dev]'
    touch "$VENV/.ready"
    say "$VENV is ready"
}

# need_server COMMAND PACKAGE...
need_server() {
    command -v "$1" >/dev/null && return
    local command="$1" package
    shift
    if [ "$(id -u)" != 0 ] && [ -z "${CI:-}" ]; then
        say "$command is missing; what needs it is skipped. On Debian: sudo apt-get install $*"
        return
    fi
    install_packages "$@"
    # Debian starts what it installs; tests start their own, on a port of their own.
    for package in "$@"; do
        service "$package" stop >/dev/null 2>&1 || true
    done
}

# Swift is the S3 server of the tests. It needs much that nothing else does: an environment of its own.
install_swift() {
    local venv=.venv-swift
    [ -x "$venv/bin/python" ] || "$PYTHON" -m venv "$venv"
    say "installing Swift into $venv"
    "$venv/bin/python" -m pip install -qq --disable-pip-version-check --no-compile "swift==$SWIFT"
    touch "$venv/.ready"
}

# vLLM pins torch, and asks for gigabytes of CUDA: its own environment, over the one that has torch already.
install_vllm() {
    local venv=.venv-vllm folder
    [ -x "$venv/bin/python" ] || "$VENV/bin/python" -m venv --without-pip "$venv"
    folder=$("$venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
    "$VENV/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))' >"$folder/below.pth"
    say "installing vLLM into $venv; the first time takes some minutes"
    "$VENV/bin/python" -m pip --python "$venv/bin/python" install -qq --disable-pip-version-check --no-compile \
        --no-deps --requirement requirements-vllm.txt
    touch "$venv/.ready"
}

install_servers() {
    local name
    for name in "$@"; do
        case "$name" in
            redis) need_server redis-server redis-server ;;
            wrk) need_server wrk wrk ;;
            nginx) need_server nginx nginx-light ;;
            # Debian keeps its programs out of the PATH.
            postgresql) PATH="$PATH:$(printf '%s:' /usr/lib/postgresql/*/bin)" need_server initdb postgresql ;;
            ceph) need_server radosgw ceph-mon ceph-osd radosgw ;;
            swift)
                check_python
                install_swift
                ;;
            *) fail "unknown server: $name" ;;
        esac
    done
}

case "${1:-venv}" in
    venv)
        check_python
        install_build_tools
        install_venv
        ;;
    servers)
        shift
        install_servers "$@"
        ;;
    vllm)
        check_python
        install_vllm
        ;;
    *) fail "usage: scripts/setup.sh [venv | vllm | servers NAME...]" ;;
esac
