#include "env/address.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "env/env.h"

static const char UNIX_PREFIX[] = "unix:";

static int refuse(const char *text, const char *why, struct peri_error *err)
{
    return peri_fail_plain(err, PERI_EINVAL,
                           "address '%s' %s; write host:port, :port, [v6 address]:port or "
                           "unix:/path",
                           text, why);
}

static int parse_unix(const char *text, struct env_address *out, struct peri_error *err)
{
    const char *path = text + strlen(UNIX_PREFIX);
    if (*path == '\0')
        return refuse(text, "has no path", err);
    size_t size = strlen(path);
    if (size > ENV_PATH_MAX)
        return peri_fail_plain(err, PERI_EINVAL,
                               "address '%s': the path of a Unix socket has %d bytes at most", text,
                               ENV_PATH_MAX);
    out->is_unix = true;
    memcpy(out->path, path, size + 1);
    return 0;
}

/* Digits only: strtol would take signs and spaces as well. */
static bool parse_port(const char *text, uint16_t *out)
{
    enum { DIGITS_MAX = 5 };
    size_t size = strlen(text);
    if (size == 0 || size > DIGITS_MAX || strspn(text, "0123456789") != size)
        return false;
    long port = strtol(text, NULL, 10);
    *out = (uint16_t)port;
    return port <= UINT16_MAX;
}

/* Finds the ends of the host and the text of the port, which is NULL when there is none. */
static bool split(const char *text, struct peri_slice *host, const char **port)
{
    const char *end = text[0] == '[' ? strchr(text, ']') : text + strcspn(text, ":");
    if (end == NULL)
        return false;
    *host = peri_slice_of(text, (size_t)(end - text));
    if (text[0] == '[') {
        *host = peri_slice_of(text + 1, (size_t)(end - text - 1));
        end++;
    }
    *port = *end == ':' ? end + 1 : NULL;
    return *end == ':' || *end == '\0';
}

static bool has_space(struct peri_slice host)
{
    for (size_t i = 0; i < host.size; i++)
        if (!isgraph((unsigned char)host.data[i]))
            return true;
    return false;
}

/* The name means this machine everywhere, also where no file and no server of names says so (RFC
 * 6761 6.3). */
static bool is_localhost(struct peri_slice host)
{
    static const char name[] = "localhost";
    return host.size == strlen(name) && strncasecmp(host.data, name, host.size) == 0;
}

int env_address_parse(const char *text, struct env_address *out, struct peri_error *err)
{
    struct peri_slice host;
    const char *port;
    *out = (struct env_address){.port = ENV_PORT_DEFAULT, .host = "127.0.0.1"};
    if (strncmp(text, UNIX_PREFIX, strlen(UNIX_PREFIX)) == 0)
        return parse_unix(text, out, err);
    if (text[0] == '\0')
        return refuse(text, "is empty", err);
    if (!split(text, &host, &port) || has_space(host) || host.size > ENV_HOST_MAX)
        return refuse(text, "names no host", err);
    if (port != NULL && strchr(port, ':') != NULL)
        return refuse(text, "has too many colons", err);
    if (port != NULL && !parse_port(port, &out->port))
        return refuse(text, "has no port of 0 to 65535", err);
    if (text[0] == '[' && host.size == 0)
        return refuse(text, "names no host", err);
    if (host.size > 0 && !is_localhost(host)) {
        memcpy(out->host, host.data, host.size);
        out->host[host.size] = '\0';
    }
    return 0;
}
