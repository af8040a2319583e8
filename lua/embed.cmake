# Embeds the Lua library into the binary: every lua/perilune/**/*.lua and Debian's argparse, compiled
# (precompile.c), become bytes in .rodata (.incbin), listed in a table that runtime/vm/embedded.h declares.
# So are the C modules: each modules/NAME.c that defines luaopen_perilune_NAME.
file(GLOB_RECURSE EMBED_LUA CONFIGURE_DEPENDS RELATIVE ${CMAKE_SOURCE_DIR}/lua
    ${CMAKE_SOURCE_DIR}/lua/perilune/*.lua)
find_file(ARGPARSE_LUA argparse.lua PATHS /usr/share/lua/5.4 REQUIRED)

set(table "#include \"vm/embedded.h\"\n")
set(rows "")
set(assembly ".section .rodata\n")
set(inputs "")
set(compiled "")
set(list "")
set(number 0)
foreach(file ${EMBED_LUA} argparse.lua)
    if(file STREQUAL "argparse.lua")
        set(path ${ARGPARSE_LUA})
    else()
        set(path ${CMAKE_SOURCE_DIR}/lua/${file})
    endif()
    string(REGEX REPLACE "(/init)?\\.lua$" "" module ${file})
    string(REPLACE "/" "." module ${module})
    set(symbol perilune_embedded_${number})
    set(luac ${CMAKE_BINARY_DIR}/embedded/${number}.luac)
    string(APPEND assembly
        ".global ${symbol}\n.global ${symbol}_end\n${symbol}:\n.incbin \"${luac}\"\n${symbol}_end:\n.byte 0\n")
    string(APPEND table "extern const char ${symbol}[], ${symbol}_end[];\n")
    string(APPEND rows "    {\"${module}\", \"${file}\", ${symbol}, ${symbol}_end},\n")
    string(APPEND list "${path}\t${file}\t${luac}\n")
    list(APPEND inputs ${path})
    list(APPEND compiled ${luac})
    math(EXPR number "${number} + 1")
endforeach()
string(APPEND assembly ".section .note.GNU-stack,\"\",@progbits\n")
string(APPEND table
    "const struct vm_embedded vm_embedded_table[] = {\n${rows}};\nconst size_t vm_embedded_count = ${number};\n")

set(rows "")
set(number 0)
foreach(source ${MODULE_SOURCES})
    get_filename_component(module ${source} NAME_WE)
    file(STRINGS ${source} opener REGEX "luaopen_perilune_${module}\\(")
    if(opener)
        string(APPEND table "int luaopen_perilune_${module}(lua_State *L);\n")
        string(APPEND rows "    {\"${module}\", luaopen_perilune_${module}},\n")
        math(EXPR number "${number} + 1")
    endif()
endforeach()
string(APPEND table
    "const struct vm_module vm_module_table[] = {\n${rows}    {NULL, NULL}};\nconst size_t vm_module_count = ${number};\n")
file(CONFIGURE OUTPUT ${CMAKE_BINARY_DIR}/embedded.S CONTENT "${assembly}" @ONLY)
file(CONFIGURE OUTPUT ${CMAKE_BINARY_DIR}/embedded.c CONTENT "${table}" @ONLY)
set(EMBED_SOURCES ${CMAKE_BINARY_DIR}/embedded.S ${CMAKE_BINARY_DIR}/embedded.c)
set_source_files_properties(${CMAKE_BINARY_DIR}/embedded.S PROPERTIES OBJECT_DEPENDS "${compiled}")

file(MAKE_DIRECTORY ${CMAKE_BINARY_DIR}/embedded)
file(CONFIGURE OUTPUT ${CMAKE_BINARY_DIR}/embedded.list CONTENT "${list}" @ONLY)
add_executable(perilune_precompile ${CMAKE_SOURCE_DIR}/lua/precompile.c)
target_include_directories(perilune_precompile SYSTEM PRIVATE ${LUA_INCLUDE_DIRS})
target_link_libraries(perilune_precompile PRIVATE perilune_flags ${LUA_STATIC_LIBRARY} ${CMAKE_DL_LIBS} m)
add_custom_command(OUTPUT ${compiled}
    COMMAND perilune_precompile ${CMAKE_BINARY_DIR}/embedded.list
    DEPENDS perilune_precompile ${CMAKE_BINARY_DIR}/embedded.list ${inputs}
    COMMENT "Compiling the Lua library" VERBATIM)
