/* An HTTP/1.1 answer, read as it arrives. */
#ifndef BENCH_ANSWER_H
#define BENCH_ANSWER_H

#include "common.h"

#include <stdbool.h>

enum answer_state { ANSWER_OPEN, ANSWER_WHOLE, ANSWER_BROKEN };

enum answer_part { HEAD, LENGTH_BODY, CHUNK_SIZE, CHUNK_DATA, CHUNK_END, TRAILER };

struct answer {
    enum answer_part part;
    char head[8192];
    size_t head_length;
    int status;
    bool closes;           /* the connection can't be used again */
    uint64_t left;         /* bytes of the body, or of the chunk */
    bool line_has_bytes;   /* of a trailer's line */
    bool after_newline;    /* a second one ends an event */
    struct digest body;
    uint64_t events;
};

void answer_reset(struct answer *answer);

/* An answer must state where it ends: else half of one could pass for a whole one. Anything else is broken. */
enum answer_state answer_feed(struct answer *answer, const char *bytes, size_t count);

#endif
