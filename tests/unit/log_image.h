/* log_image.h - all files of a log, taken as they are, changed, and put back. */
#ifndef PERI_TESTS_LOG_IMAGE_H
#define PERI_TESTS_LOG_IMAGE_H

#include "log_fixture.h"

#include <errno.h>

enum { IMAGE_FILES_MAX = 64 };

struct image_file {
    char path[256];
    struct peri_buffer bytes;
};

/* All files of a log. */
struct image {
    struct image_file files[IMAGE_FILES_MAX];
    size_t count;
};

static inline struct peri_buffer image_read_whole(struct env *env, const char *path)
{
    struct peri_buffer bytes = {0};
    struct env_file *file = NULL;
    struct env_stat stat;
    assert_int_equal(env_file_open(env, path, ENV_FILE_READ, &file, NULL), 0);
    assert_int_equal(env_file_stat(file, &stat, NULL), 0);
    assert_int_equal(peri_buffer_reserve(&bytes, (size_t)stat.size_bytes + 1), 0);
    bytes.size = (size_t)stat.size_bytes;
    assert_int_equal(env_file_pread(file, bytes.data, bytes.size, 0, NULL), bytes.size);
    assert_int_equal(env_file_close(file, NULL), 0);
    return bytes;
}

static inline void image_write_whole(struct env *env, const char *path, struct peri_slice bytes)
{
    struct env_file *file = NULL;
    int flags = ENV_FILE_WRITE | ENV_FILE_CREATE | ENV_FILE_TRUNCATE;
    assert_int_equal(env_file_open(env, path, flags, &file, NULL), 0);
    assert_int_equal(env_file_write(file, bytes.data, bytes.size, NULL), 0);
    assert_int_equal(env_file_close(file, NULL), 0);
}

/* Appends all files in a directory, and in those in it. */
static inline void image_take(struct env *env, const char *path, struct image *image)
{
    char entry[256];
    const char *name = NULL;
    enum env_file_type type;
    struct env_dir *dir = NULL;
    assert_int_equal(env_dir_open(env, path, &dir, NULL), 0);
    while (env_dir_next(dir, &name, &type, NULL) == 1) {
        (void)snprintf(entry, sizeof entry, "%s/%s", path, name);
        if (type == ENV_TYPE_DIRECTORY) {
            image_take(env, entry, image);
        } else {
            struct image_file *file = &image->files[image->count++];
            assert_in_range(image->count, 1, IMAGE_FILES_MAX);
            (void)snprintf(file->path, sizeof file->path, "%s", entry);
            file->bytes = image_read_whole(env, entry);
        }
    }
    env_dir_close(dir);
}

static inline void image_deinit(struct image *image)
{
    for (size_t i = 0; i < image->count; i++)
        peri_buffer_deinit(&image->files[i].bytes);
    image->count = 0;
}

/* Puts all files back where they were, and nothing else. */
static inline void image_restore(struct log_fixture *fixture, const struct image *image)
{
    char directory[256];
    fixture_remove(fixture->env, fixture->path);
    assert_int_equal(env_path_mkdir(fixture->env, fixture->path, NULL), 0);
    for (size_t i = 0; i < image->count; i++) {
        (void)snprintf(directory, sizeof directory, "%s", image->files[i].path);
        *strrchr(directory, '/') = '\0';
        int rc = env_path_mkdir(fixture->env, directory, NULL);
        assert_true(rc == 0 || rc == -EEXIST);
        image_write_whole(fixture->env, image->files[i].path,
                          peri_buffer_slice(&image->files[i].bytes));
    }
}

#endif
