/* The upstream's responses: a JSON body and a stream of events in chunks, the same for every request. */
#ifndef BENCH_SCRIPT_H
#define BENCH_SCRIPT_H

#include "common.h"

struct script {
    char *bytes;          /* the whole response, with its head */
    size_t length;
    size_t *frame_ends;   /* frame i is bytes[frame_ends[i - 1] .. frame_ends[i]], sent in one write */
    int frames;
    struct digest body;   /* of the body that the client should receive */
};

struct script json_script(void);
struct script stream_script(int deltas, int phrases);

#endif
