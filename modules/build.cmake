# Writes build_info.h for build.c: version, commit, build type. Included by CMakeLists.txt it adds the
# target build_info, which looks at every build; run as a script (-P) it is that look.
if(CMAKE_SCRIPT_MODE_FILE)
    cmake_minimum_required(VERSION 3.25)
    execute_process(COMMAND git -C ${SOURCE} rev-parse --short=12 HEAD
        OUTPUT_VARIABLE commit OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
    execute_process(COMMAND git -C ${SOURCE} status --porcelain --untracked-files=no
        OUTPUT_VARIABLE changes ERROR_QUIET)
    if(NOT commit)
        set(commit "no git")
    elseif(changes)
        string(APPEND commit "+")
    endif()
    file(CONFIGURE OUTPUT ${OUT} @ONLY CONTENT
"#define PERILUNE_VERSION \"@VERSION@\"
#define PERILUNE_GIT \"@commit@\"
#define PERILUNE_BUILD_TYPE \"@BUILD_TYPE@\"
#define PERILUNE_MPACK_VERSION \"@MPACK@\"
")
else()
    set(build_info ${CMAKE_BINARY_DIR}/generated/build_info.h)
    add_custom_target(build_info BYPRODUCTS ${build_info} COMMENT "Looking at the commit"
        COMMAND ${CMAKE_COMMAND} -DSOURCE=${CMAKE_SOURCE_DIR} -DOUT=${build_info}
            -DVERSION=${PROJECT_VERSION} -DBUILD_TYPE=${CMAKE_BUILD_TYPE}
            -DMPACK=${MPACK_VERSION}
            -P ${CMAKE_CURRENT_LIST_FILE} VERBATIM)
    add_dependencies(perilune_core build_info)
    target_include_directories(perilune_core PRIVATE ${CMAKE_BINARY_DIR}/generated)
endif()
