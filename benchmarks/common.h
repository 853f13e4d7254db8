/* Shared by both programs: a clock, a digest of a body, a fatal error. */
#ifndef BENCH_COMMON_H
#define BENCH_COMMON_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

/* Length and FNV-1a hash: bodies with the same digest count as equal. */
struct digest {
    uint64_t hash;
    uint64_t length;
};

static const struct digest EMPTY_DIGEST = {14695981039346656037u, 0};

static inline void digest_add(struct digest *digest, const char *bytes, size_t count)
{
    uint64_t hash = digest->hash;
    for (size_t i = 0; i < count; i++)
        hash = (hash ^ (unsigned char)bytes[i]) * 1099511628211u;
    digest->hash = hash;
    digest->length += count;
}

static inline int64_t now_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000000LL + now.tv_nsec / 1000;
}

static inline void fail(const char *what)
{
    perror(what);
    exit(1);
}

#endif
