# packages.sh - sourced by the other scripts: which Debian packages we need, and how they get there.
# shellcheck shell=bash disable=SC2034 # the lists are for who sources this

# What building the release needs.
BUILD_PACKAGES=(gcc libc6-dev cmake ninja-build pkg-config git liblua5.4-dev libuv1-dev libmpack-dev
    libjansson-dev liblz4-dev libzstd-dev zlib1g-dev libxxhash-dev libleveldb-dev libssl-dev libmimalloc-dev musl-dev
    lua-argparse)

# What scripts/test needs on top.
TEST_PACKAGES=(lua5.4 lua-busted libcmocka-dev lua-check clang clang-tidy clang-format libclang-rt-14-dev
    shellcheck codespell binutils procps fiu-utils)

# Prints what the given packages lack.
missing_packages() {
    local installed
    # dpkg-query fails when it does not know one of the packages; that is what we ask.
    installed=$(dpkg-query -W -f='${Package} ${db:Status-Status}\n' "$@" 2>/dev/null) || true
    for package in "$@"; do
        grep -qx "$package installed" <<<"$installed" || echo "$package"
    done
}

# Installs what is missing of the given packages; quick when nothing is.
need_packages() {
    local missing sudo=()
    if ! command -v dpkg-query >/dev/null; then
        echo "This is not Debian; make sure you have what these packages hold: $*" >&2
        return 0
    fi
    mapfile -t missing < <(missing_packages "$@")
    [ ${#missing[@]} -eq 0 ] && return 0
    if [ "$(id -u)" -ne 0 ]; then
        if ! command -v sudo >/dev/null; then
            echo "Missing packages: ${missing[*]}" >&2
            echo "Install them as root: apt-get install ${missing[*]}" >&2
            return 1
        fi
        sudo=(sudo)
    fi
    echo "Installing ${#missing[@]} packages: ${missing[*]}"
    local log
    log=$(mktemp)
    if ! { "${sudo[@]}" apt-get update &&
        "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y \
            --no-install-recommends "${missing[@]}"; } >"$log" 2>&1; then
        tail -20 "$log" >&2
        echo "The packages could not be installed; the lines above say why." >&2
        rm -f "$log"
        return 1
    fi
    rm -f "$log"
}

# Configures and builds a preset; shows the compiler's output only when it fails.
build_preset() {
    local log=build/$1.log
    mkdir -p build
    if ! { cmake --preset "$1" && cmake --build --preset "$1"; } >"$log" 2>&1; then
        grep -E -A8 'error|FAILED|No such file' "$log" | head -60 >&2 || true
        echo "Building '$1' failed; all of the output is in $log" >&2
        return 1
    fi
}
