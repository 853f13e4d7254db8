/* An HTTP/1.1 response, parsed as it arrives. */
#ifndef BENCH_RESPONSE_H
#define BENCH_RESPONSE_H

#include "common.h"

#include <stdbool.h>

enum response_state { RESPONSE_OPEN, RESPONSE_WHOLE, RESPONSE_BROKEN };

enum response_part { HEAD, LENGTH_BODY, CHUNK_SIZE, CHUNK_DATA, CHUNK_END, TRAILER };

struct response {
    enum response_part part;
    char head[8192];
    size_t head_length;
    int status;
    bool closes;           /* the connection can't be used again */
    uint64_t left;         /* bytes to come of the body, or of the chunk */
    bool line_has_bytes;   /* the trailer's line is not empty */
    bool after_newline;    /* another newline ends an event */
    struct digest body;
    uint64_t events;
};

void response_reset(struct response *response);

/* A response without a length or chunks is broken: half of it could pass for all of it. */
enum response_state response_feed(struct response *response, const char *bytes, size_t count);

#endif
