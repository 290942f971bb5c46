#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# headers.sh FOLDER CC [CXX]: each header compiles alone, as C11 and as C++17, without a warning.
set -u

include=$1
cc=$2
cxx=${3-}
status=0

# compile COMPILER LANGUAGE STANDARD: what is said is shown.
compile() {
    echo "#include <sluice/$header>" |
        "$1" -x "$2" -std="$3" -pedantic-errors -Wall -Wextra -Werror -fsyntax-only -I "$include" - ||
        { echo "sluice/$header does not compile as $3"; status=1; }
}

for path in "$include"/sluice/*.h; do
    header=$(basename "$path")
    compile "$cc" c c11
    if [ -n "$cxx" ] && [ "${cxx%-NOTFOUND}" = "$cxx" ]; then
        compile "$cxx" c++ c++17
    else
        echo "there is no C++ compiler: $header was compiled as C only"
    fi
    # Nothing but the headers themselves and stdint.h.
    if grep -n '#include' "$path" | grep -vE '<(sluice/[a-z]+\.(h|def)|stdint\.h)>'; then
        echo "sluice/$header includes something else"
        status=1
    fi
done
exit $status
