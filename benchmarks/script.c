#define _GNU_SOURCE
#include "script.h"

#include <string.h>

#define MODEL "claude-sonnet-4-5"
#define USAGE "\"usage\":{\"input_tokens\":25,\"cache_creation_input_tokens\":0,\"cache_read_input_tokens\":0,"
#define WORDS "lorem ipsum dolor sit amet, consectetur adipiscing elit, "
#define HEAD "HTTP/1.1 200 OK\r\nrequest-id: req_benchmark\r\ncontent-type: "

enum { MAX_BODY = 4096 };

static void append(struct script *script, const char *bytes, size_t count)
{
    script->bytes = realloc(script->bytes, script->length + count);
    if (!script->bytes)
        fail("realloc");
    memcpy(script->bytes + script->length, bytes, count);
    script->length += count;
}

static void append_text(struct script *script, const char *text)
{
    append(script, text, strlen(text));
}

static void end_frame(struct script *script)
{
    script->frame_ends = realloc(script->frame_ends, (script->frames + 1) * sizeof *script->frame_ends);
    if (!script->frame_ends)
        fail("realloc");
    script->frame_ends[script->frames++] = script->length;
}

struct script json_script(void)
{
    struct script script = {.body = EMPTY_DIGEST};
    char body[MAX_BODY], head[256], text[MAX_BODY / 2] = "";
    for (int i = 0; i < 14; i++)
        strcat(text, WORDS);
    int length = snprintf(
        body, sizeof body,
        "{\"id\":\"msg_benchmark\",\"type\":\"message\",\"role\":\"assistant\",\"model\":\"" MODEL "\","
        "\"content\":[{\"type\":\"text\",\"text\":\"%s\"}],\"stop_reason\":\"end_turn\",\"stop_sequence\":null,"
        USAGE "\"output_tokens\":150}}", text);
    snprintf(head, sizeof head, HEAD "application/json\r\ncontent-length: %d\r\n\r\n", length);
    append_text(&script, head);
    append(&script, body, length);
    digest_add(&script.body, body, length);
    end_frame(&script);
    return script;
}

/* One event is one chunk and one write, as providers send them. */
static void append_event(struct script *script, const char *name, const char *members)
{
    char *event, size[16];
    int length = asprintf(&event, "event: %s\ndata: {\"type\":\"%s\"%s}\n\n", name, name, members);
    if (length < 0)
        fail("asprintf");
    snprintf(size, sizeof size, "%x\r\n", length);
    append_text(script, size);
    append(script, event, length);
    append_text(script, "\r\n");
    digest_add(&script->body, event, length);
    end_frame(script);
    free(event);
}

static void append_delta(struct script *script, int number, const char *text)
{
    char *members;
    if (asprintf(&members, ",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"%06d %s\"}", number, text) < 0)
        fail("asprintf");
    append_event(script, "content_block_delta", members);
    free(members);
}

static char *repeated(const char *words, int times)
{
    char *text = calloc(times, strlen(words) + 1), *end = text;
    if (!text)
        fail("calloc");
    for (int i = 0; i < times; i++)
        end = stpcpy(end, words);
    return text;
}

struct script stream_script(int deltas, int phrases)
{
    char *text = repeated(WORDS, phrases);
    struct script script = {.body = EMPTY_DIGEST};
    append_text(&script, HEAD "text/event-stream; charset=utf-8\r\ncache-control: no-cache\r\n"
                              "transfer-encoding: chunked\r\n\r\n");
    append_event(&script, "message_start",
                 ",\"message\":{\"id\":\"msg_benchmark\",\"type\":\"message\",\"role\":\"assistant\","
                 "\"content\":[],\"model\":\"" MODEL "\",\"stop_reason\":null,\"stop_sequence\":null,"
                 USAGE "\"output_tokens\":1}}");
    append_event(&script, "content_block_start", ",\"index\":0,\"content_block\":{\"type\":\"text\",\"text\":\"\"}");
    for (int i = 0; i < deltas; i++)
        append_delta(&script, i, text);
    free(text);
    append_event(&script, "content_block_stop", ",\"index\":0");
    append_event(&script, "message_delta",
                 ",\"delta\":{\"stop_reason\":\"end_turn\",\"stop_sequence\":null},\"usage\":{\"output_tokens\":300}");
    append_event(&script, "message_stop", "");
    append_text(&script, "0\r\n\r\n");
    script.frame_ends[script.frames - 1] = script.length; /* the end of the body leaves with the last event */
    return script;
}
