/* What the upstream answers: one JSON body, and one stream of events as chunks, both the same for every request. */
#ifndef BENCH_SCRIPT_H
#define BENCH_SCRIPT_H

#include "common.h"

struct script {
    char *bytes;          /* as they go on the wire, head included */
    size_t length;
    size_t *frame_ends;   /* frame i is bytes[frame_ends[i - 1] .. frame_ends[i]] and one write */
    int frames;
    struct digest body;   /* of what the client should see */
};

struct script json_script(void);
struct script stream_script(int deltas);

#endif
