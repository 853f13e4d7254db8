#define _GNU_SOURCE
#include "response.h"

#include <string.h>

void response_reset(struct response *response)
{
    response->part = HEAD;
    response->head_length = 0;
    response->status = 0;
    response->after_newline = false;
    response->body = EMPTY_DIGEST;
    response->events = 0;
}

static void count_events(struct response *response, const char *bytes, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        bool newline = bytes[i] == '\n';
        bool ended = newline && response->after_newline;
        response->events += ended;
        response->after_newline = newline && !ended;
    }
}

/* Consumes bytes of the body or chunk. Returns their number. */
static size_t take_body(struct response *response, const char *bytes, size_t count)
{
    size_t taken = count < response->left ? count : response->left;
    digest_add(&response->body, bytes, taken);
    count_events(response, bytes, taken);
    response->left -= taken;
    return taken;
}

static enum response_state read_headers(struct response *response)
{
    char *head = response->head;
    char *length = strcasestr(head, "\r\ncontent-length:");
    response->status = atoi(head + strlen("HTTP/1.1 "));
    response->closes = strcasestr(head, "\r\nconnection: close") != NULL;
    response->left = length ? strtoull(length + strlen("\r\ncontent-length:"), NULL, 10) : 0;
    if (strcasestr(head, "\r\ntransfer-encoding: chunked"))
        response->part = CHUNK_SIZE;
    else if (length)
        response->part = LENGTH_BODY;
    else
        return RESPONSE_BROKEN;
    return response->part == LENGTH_BODY && response->left == 0 ? RESPONSE_WHOLE : RESPONSE_OPEN;
}

/* Copies bytes into the head up to its empty line, and sets how many it used. */
static enum response_state take_head(struct response *response, const char *bytes, size_t count, size_t *taken)
{
    size_t before = response->head_length, room = sizeof response->head - 1 - before;
    size_t copied = count < room ? count : room;
    memcpy(response->head + before, bytes, copied);
    response->head_length += copied;
    response->head[response->head_length] = '\0';
    char *end = strstr(response->head, "\r\n\r\n");
    *taken = end ? end + 4 - response->head - before : copied;
    if (end)
        return read_headers(response);
    return copied == room ? RESPONSE_BROKEN : RESPONSE_OPEN;
}

static int hex_digit(char byte)
{
    if (byte >= '0' && byte <= '9')
        return byte - '0';
    byte |= 0x20;
    return byte >= 'a' && byte <= 'f' ? byte - 'a' + 10 : -1;
}

static void take_size_byte(struct response *response, char byte)
{
    if (byte == '\n') {
        response->part = response->left ? CHUNK_DATA : TRAILER;
        response->line_has_bytes = false;
    } else if (hex_digit(byte) >= 0) {
        response->left = response->left * 16 + hex_digit(byte);
    }
}

/* Handles a byte of the trailer, which ends with an empty line. */
static enum response_state take_trailer_byte(struct response *response, char byte)
{
    if (byte == '\n') {
        if (!response->line_has_bytes)
            return RESPONSE_WHOLE;
        response->line_has_bytes = false;
    } else if (byte != '\r') {
        response->line_has_bytes = true;
    }
    return RESPONSE_OPEN;
}

static size_t take_chunk_data(struct response *response, const char *bytes, size_t count)
{
    size_t taken = take_body(response, bytes, count);
    if (response->left == 0)
        response->part = CHUNK_END;
    return taken;
}

enum response_state response_feed(struct response *response, const char *bytes, size_t count)
{
    enum response_state state = RESPONSE_OPEN;
    for (size_t i = 0; i < count && state == RESPONSE_OPEN;) {
        size_t taken = 1;
        switch (response->part) {
        case HEAD:
            state = take_head(response, bytes + i, count - i, &taken);
            break;
        case LENGTH_BODY:
            taken = take_body(response, bytes + i, count - i);
            state = response->left ? RESPONSE_OPEN : RESPONSE_WHOLE;
            break;
        case CHUNK_SIZE:
            take_size_byte(response, bytes[i]);
            break;
        case CHUNK_DATA:
            taken = take_chunk_data(response, bytes + i, count - i);
            break;
        case CHUNK_END:
            if (bytes[i] == '\n')
                response->part = CHUNK_SIZE;
            break;
        case TRAILER:
            state = take_trailer_byte(response, bytes[i]);
            break;
        }
        i += taken;
    }
    return state;
}
