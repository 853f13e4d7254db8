#define _GNU_SOURCE
#include "answer.h"

#include <string.h>

void answer_reset(struct answer *answer)
{
    answer->part = HEAD;
    answer->head_length = 0;
    answer->status = 0;
    answer->after_newline = false;
    answer->body = EMPTY_DIGEST;
    answer->events = 0;
}

static void count_events(struct answer *answer, const char *bytes, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        bool newline = bytes[i] == '\n';
        bool ended = newline && answer->after_newline;
        answer->events += ended;
        answer->after_newline = newline && !ended;
    }
}

/* Takes what belongs to the body, or to the chunk; returns how much that is. */
static size_t take_body(struct answer *answer, const char *bytes, size_t count)
{
    size_t taken = count < answer->left ? count : answer->left;
    digest_add(&answer->body, bytes, taken);
    count_events(answer, bytes, taken);
    answer->left -= taken;
    return taken;
}

static enum answer_state read_headers(struct answer *answer)
{
    char *head = answer->head;
    char *length = strcasestr(head, "\r\ncontent-length:");
    answer->status = atoi(head + strlen("HTTP/1.1 "));
    answer->closes = strcasestr(head, "\r\nconnection: close") != NULL;
    answer->left = length ? strtoull(length + strlen("\r\ncontent-length:"), NULL, 10) : 0;
    if (strcasestr(head, "\r\ntransfer-encoding: chunked"))
        answer->part = CHUNK_SIZE;
    else if (length)
        answer->part = LENGTH_BODY;
    else
        return ANSWER_BROKEN;
    return answer->part == LENGTH_BODY && answer->left == 0 ? ANSWER_WHOLE : ANSWER_OPEN;
}

/* Copies into the head until its empty line; sets how many bytes of this piece were the head's. */
static enum answer_state take_head(struct answer *answer, const char *bytes, size_t count, size_t *taken)
{
    size_t before = answer->head_length, room = sizeof answer->head - 1 - before;
    size_t copied = count < room ? count : room;
    memcpy(answer->head + before, bytes, copied);
    answer->head_length += copied;
    answer->head[answer->head_length] = '\0';
    char *end = strstr(answer->head, "\r\n\r\n");
    *taken = end ? end + 4 - answer->head - before : copied;
    if (end)
        return read_headers(answer);
    return copied == room ? ANSWER_BROKEN : ANSWER_OPEN;
}

static int hex_digit(char byte)
{
    if (byte >= '0' && byte <= '9')
        return byte - '0';
    byte |= 0x20;
    return byte >= 'a' && byte <= 'f' ? byte - 'a' + 10 : -1;
}

static void take_size_byte(struct answer *answer, char byte)
{
    if (byte == '\n') {
        answer->part = answer->left ? CHUNK_DATA : TRAILER;
        answer->line_has_bytes = false;
    } else if (hex_digit(byte) >= 0) {
        answer->left = answer->left * 16 + hex_digit(byte);
    }
}

/* The empty line that ends the body. */
static enum answer_state take_trailer_byte(struct answer *answer, char byte)
{
    if (byte == '\n') {
        if (!answer->line_has_bytes)
            return ANSWER_WHOLE;
        answer->line_has_bytes = false;
    } else if (byte != '\r') {
        answer->line_has_bytes = true;
    }
    return ANSWER_OPEN;
}

static size_t take_chunk_data(struct answer *answer, const char *bytes, size_t count)
{
    size_t taken = take_body(answer, bytes, count);
    if (answer->left == 0)
        answer->part = CHUNK_END;
    return taken;
}

enum answer_state answer_feed(struct answer *answer, const char *bytes, size_t count)
{
    enum answer_state state = ANSWER_OPEN;
    for (size_t i = 0; i < count && state == ANSWER_OPEN;) {
        size_t taken = 1;
        switch (answer->part) {
        case HEAD:
            state = take_head(answer, bytes + i, count - i, &taken);
            break;
        case LENGTH_BODY:
            taken = take_body(answer, bytes + i, count - i);
            state = answer->left ? ANSWER_OPEN : ANSWER_WHOLE;
            break;
        case CHUNK_SIZE:
            take_size_byte(answer, bytes[i]);
            break;
        case CHUNK_DATA:
            taken = take_chunk_data(answer, bytes + i, count - i);
            break;
        case CHUNK_END:
            if (bytes[i] == '\n')
                answer->part = CHUNK_SIZE;
            break;
        case TRAILER:
            state = take_trailer_byte(answer, bytes[i]);
            break;
        }
        i += taken;
    }
    return state;
}
