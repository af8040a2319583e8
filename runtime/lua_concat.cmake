# Debian 12's Lua (5.4.4-3+deb12u1) carries a security patch, for CVE-2022-33099, whose luaV_concat keeps
# a pointer to the stack over the call of a __concat metamethod. When the metamethod makes the stack grow,
# that pointer is stale, and Lua goes on in freed memory: `a .. "" .. a` crashed. Later Luas have it right.
# The pointer is in a register, and the metamethod is called through a function that -Wl,--wrap can reach:
# vm/concat.S renews the register. It is linked only where these very instructions are found.
#
#     mov %rbp,%rdi; sub $1,%ebx; sub $16,%r15; call luaT_tryconcatTM; mov %r15,16(%rbp)
set(STALE_CONCAT 4889ef83eb014983ef10e8000000004c897d10)
file(READ ${LUA_STATIC_LIBRARY} lua_bytes HEX)
string(FIND "${lua_bytes}" ${STALE_CONCAT} stale_concat_at)
unset(lua_bytes)
if(NOT stale_concat_at EQUAL -1)
    target_sources(perilune_core PRIVATE ${CMAKE_SOURCE_DIR}/runtime/vm/concat.S)
    target_link_options(perilune_core PUBLIC -Wl,--wrap=luaT_tryconcatTM
        -Wl,-u,__wrap_luaT_tryconcatTM)
endif()
