/* precompile - turns Lua files into what lua_dump makes of them, debug information included, with
 * the Lua that the runtime is linked with: precompile LIST. Each line of LIST names a file, the
 * name that it has in messages, and the file to write, with tabs between them. Only the build runs
 * it (embed.cmake). */
#include <lauxlib.h>
#include <lua.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct input {
    FILE *file;
    char part[16384];
};

static const char *read_part(lua_State *L, void *data, size_t *size)
{
    (void)L;
    struct input *input = data;
    *size = fread(input->part, 1, sizeof input->part, input->file);
    return input->part;
}

static int write_part(lua_State *L, const void *bytes, size_t size, void *file)
{
    (void)L;
    return fwrite(bytes, 1, size, file) == size ? 0 : 1;
}

/* Leaves the function of the file, or a message. */
static bool compile(lua_State *L, const char *path, const char *name)
{
    struct input input = {.file = fopen(path, "rb")};
    if (input.file == NULL) {
        lua_pushliteral(L, "it cannot be read");
        return false;
    }
    const char *chunk = lua_pushfstring(L, "@%s", name);
    int status = lua_load(L, read_part, &input, chunk, "t");
    (void)fclose(input.file);
    return status == LUA_OK;
}

/* Writes the function on top of the stack, or leaves a message. */
static bool dump(lua_State *L, const char *path)
{
    FILE *file = fopen(path, "wb");
    bool is_written = file != NULL && lua_dump(L, write_part, file, 0) == 0;
    is_written = file != NULL && fclose(file) == 0 && is_written;
    if (!is_written)
        lua_pushfstring(L, "%s cannot be written", path);
    return is_written;
}

static bool run_line(lua_State *L, char *line)
{
    char *rest = NULL;
    const char *path = strtok_r(line, "\t\n", &rest);
    const char *name = strtok_r(NULL, "\t\n", &rest);
    const char *to = strtok_r(NULL, "\t\n", &rest);
    lua_settop(L, 0);
    if (to != NULL && compile(L, path, name) && dump(L, to))
        return true;
    (void)fprintf(stderr, "precompile: %s: %s\n", path != NULL ? path : "a line",
                  to != NULL ? lua_tostring(L, -1) : "a path, a name and a path are wanted");
    return false;
}

int main(int argc, char **argv)
{
    FILE *list = argc == 2 ? fopen(argv[1], "r") : NULL;
    lua_State *L = luaL_newstate();
    if (list == NULL || L == NULL) {
        (void)fputs("usage: precompile LIST\n", stderr);
        return EXIT_FAILURE;
    }
    char line[8192];
    bool is_done = true;
    while (is_done && fgets(line, sizeof line, list) != NULL)
        is_done = run_line(L, line);
    lua_close(L);
    (void)fclose(list);
    return is_done ? EXIT_SUCCESS : EXIT_FAILURE;
}
