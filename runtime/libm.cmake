# The same bits from pow, exp, log, sin ... on every processor. glibc chooses a version of each by what
# the processor has, and the versions with fused multiply-add round otherwise: a seed, or a replica, would
# follow its machine. So the whole program, Lua included, takes these functions from musl's static library
# (Debian's musl-dev; MIT), which is plain C: out of it a linker pulls them and what they need, objcopy
# hides all of that but the functions, and gives them the names that -Wl,--wrap expects. What is not here
# (sqrt, fmod, floor, fma) has only one right answer. Measured on a processor with FMA: 0.7 to 1.3 times
# glibc's time a call for all but atan (1.6).
set(LIBM_FUNCTIONS pow exp log log2 log10 sin cos tan asin acos atan atan2 sinh cosh tanh)

string(REPLACE "-gnu" "-musl" musl_architecture "${CMAKE_LIBRARY_ARCHITECTURE}")
find_file(MUSL_LIBC libc.a PATHS /usr/lib/${musl_architecture} /usr/lib/musl/lib /usr/local/musl/lib
    NO_DEFAULT_PATH REQUIRED)
# The GNU tools also with clang: lld needs an object, llvm-objcopy renames in another order.
find_program(LIBM_LINKER NAMES ld.bfd ld REQUIRED)
find_program(LIBM_OBJCOPY NAMES objcopy REQUIRED)
set(pulled ${CMAKE_BINARY_DIR}/generated/libm_pulled.o)
set(LIBM_OBJECT ${CMAKE_BINARY_DIR}/generated/libm.o)
set(wanted "")
set(renamed "")
set(LIBM_WRAPS "")
foreach(function ${LIBM_FUNCTIONS})
    list(APPEND wanted -u ${function})
    list(APPEND renamed --redefine-sym ${function}=__wrap_${function}
        --keep-global-symbol=__wrap_${function})
    string(APPEND LIBM_WRAPS ",--wrap=${function}")
endforeach()
add_custom_command(OUTPUT ${LIBM_OBJECT} BYPRODUCTS ${pulled} DEPENDS ${MUSL_LIBC} VERBATIM
    COMMAND ${LIBM_LINKER} -r ${wanted} -o ${pulled} ${MUSL_LIBC}
    COMMAND ${LIBM_OBJCOPY} ${renamed} ${pulled} ${LIBM_OBJECT}
    COMMENT "Taking the mathematical functions out of musl")
add_custom_target(libm_object DEPENDS ${LIBM_OBJECT})
add_dependencies(perilune_core libm_object)
target_link_libraries(perilune_core PUBLIC ${LIBM_OBJECT})
target_link_options(perilune_core PUBLIC -Wl${LIBM_WRAPS})
