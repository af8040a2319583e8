/* concat.S - calls a __concat metamethod for the luaV_concat that runtime/lua_concat.cmake has found.
 *
 * Its caller has L in rbp and goes on with r15, which must be L->top - 16, on the stack as it is after
 * the call: the metamethod may have moved it. L->top itself is right (the second pointer of a
 * lua_State, behind 16 bytes). */
    .text
    .globl __wrap_luaT_tryconcatTM
    .type __wrap_luaT_tryconcatTM, @function
__wrap_luaT_tryconcatTM:
    .cfi_startproc
    subq $8, %rsp
    .cfi_adjust_cfa_offset 8
    call __real_luaT_tryconcatTM
    addq $8, %rsp
    .cfi_adjust_cfa_offset -8
    movq 16(%rbp), %r15
    subq $16, %r15
    ret
    .cfi_endproc
    .size __wrap_luaT_tryconcatTM, . - __wrap_luaT_tryconcatTM
    .section .note.GNU-stack, "", @progbits
