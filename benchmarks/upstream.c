/*
 * A provider for benchmarks: one thread, epoll, loopback.
 *
 *     upstream DELTAS INTERVAL_US PHRASES
 *
 * Sends a stream of events, one every INTERVAL_US with so many phrases of text, if the request's body holds "stream":true, else a JSON body.
 * Prints its port and the digests of both bodies on one line, then serves until it is ended.
 */
#define _GNU_SOURCE
#include "script.h"

#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

enum { MAX_EVENTS = 256, READ_SIZE = 65536 };

struct connection {
    int fd;
    char *request;                 /* received so far */
    size_t received, capacity;
    const struct script *response;   /* being sent, or null */
    int frame;                     /* number of its frames that are due */
    size_t sent;
    int64_t due;                   /* time of the next frame */
    struct connection *next;       /* in the queue of paced streams */
    bool queued, closed, blocked;  /* blocked: the socket is full */
};

static int poller;
static int64_t interval;
static struct script json, stream;
static struct connection *queue_head, *queue_tail;

static void watch(struct connection *connection, int operation, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.ptr = connection};
    epoll_ctl(poller, operation, connection->fd, &event);
}

/* All streams have the same interval, so the queue stays sorted. */
static void enqueue(struct connection *connection)
{
    connection->queued = true;
    connection->next = NULL;
    if (queue_tail)
        queue_tail->next = connection;
    else
        queue_head = connection;
    queue_tail = connection;
}

static struct connection *dequeue(void)
{
    struct connection *connection = queue_head;
    queue_head = connection->next;
    if (!queue_head)
        queue_tail = NULL;
    connection->queued = false;
    return connection;
}

static void release(struct connection *connection)
{
    free(connection->request);
    free(connection);
}

static void hang_up(struct connection *connection)
{
    close(connection->fd);
    connection->closed = true;
    if (!connection->queued)
        release(connection);
}

/* Sends the frames that are due. Returns false if the connection is lost. */
static bool flush(struct connection *connection)
{
    const struct script *response = connection->response;
    size_t end = response->frame_ends[connection->frame - 1];
    ssize_t count = send(connection->fd, response->bytes + connection->sent, end - connection->sent, MSG_NOSIGNAL);
    if (count < 0 && errno != EAGAIN) {
        hang_up(connection);
        return false;
    }
    connection->sent += count > 0 ? count : 0;
    bool blocked = connection->sent < end;
    if (blocked != connection->blocked)
        watch(connection, EPOLL_CTL_MOD, EPOLLIN | (blocked ? EPOLLOUT : 0));
    connection->blocked = blocked;
    if (connection->sent == response->length)
        connection->response = NULL;
    return true;
}

/* Sends the next frame, unless the socket is still full, and schedules the one after it. Without an interval all
 * frames are due at once. */
static void advance(struct connection *connection)
{
    if (!connection->blocked) {
        connection->frame = interval ? connection->frame + 1 : connection->response->frames;
        if (!flush(connection))
            return;
    }
    if (connection->response && connection->frame < connection->response->frames) {
        connection->due += interval;
        enqueue(connection);
    }
}

static void response(struct connection *connection, bool streaming)
{
    connection->response = streaming ? &stream : &json;
    connection->frame = 0;
    connection->sent = 0;
    connection->due = now_us();
    advance(connection);
}

/* Returns the length of the first request in the buffer, with its body, or 0 while that is unknown. */
static size_t request_length(struct connection *connection)
{
    char *end = memmem(connection->request, connection->received, "\r\n\r\n", 4);
    if (!end)
        return 0;
    *end = '\0'; /* make the head a string */
    char *length = strcasestr(connection->request, "\r\ncontent-length:");
    *end = '\r';
    return end + 4 - connection->request + (length ? strtoul(length + 17, NULL, 10) : 0);
}

static void serve(struct connection *connection)
{
    size_t length = request_length(connection);
    if (!length || connection->received < length)
        return;
    bool streaming = memmem(connection->request, length, "\"stream\":true", 13) != NULL;
    connection->received = 0;
    response(connection, streaming);
}

static void read_request(struct connection *connection)
{
    if (connection->capacity - connection->received < READ_SIZE) {
        connection->capacity = connection->received + 2 * READ_SIZE;
        connection->request = realloc(connection->request, connection->capacity);
        if (!connection->request)
            fail("realloc");
    }
    ssize_t count = recv(connection->fd, connection->request + connection->received, READ_SIZE, 0);
    if (count > 0) {
        connection->received += count;
        serve(connection);
    } else if (count == 0 || errno != EAGAIN) {
        hang_up(connection);
    }
}

static void accept_all(int listener)
{
    int fd, on = 1;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
        struct connection *connection = calloc(1, sizeof *connection);
        if (!connection)
            fail("calloc");
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        connection->fd = fd;
        watch(connection, EPOLL_CTL_ADD, EPOLLIN);
    }
}

static int listen_on_loopback(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (bind(listener, (struct sockaddr *)&address, size) || listen(listener, 4096))
        fail("listen");
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};
    epoll_ctl(poller, EPOLL_CTL_ADD, listener, &event);
    getsockname(listener, (struct sockaddr *)&address, &size);
    printf("{\"port\": %d, \"blocking\": \"%" PRIu64 ":%" PRIx64 "\", \"streaming\": \"%" PRIu64 ":%" PRIx64 "\"}\n",
           ntohs(address.sin_port), json.body.length, json.body.hash, stream.body.length, stream.body.hash);
    fflush(stdout);
    return listener;
}

static void advance_due(void)
{
    int64_t now = now_us();
    while (queue_head && queue_head->due <= now) {
        struct connection *connection = dequeue();
        if (connection->closed)
            release(connection);
        else
            advance(connection);
    }
}

static int milliseconds_to_next(void)
{
    if (!queue_head)
        return -1;
    int64_t left = queue_head->due - now_us();
    return left > 0 ? (int)((left + 999) / 1000) : 0;
}

int main(int argc, char **argv)
{
    if (argc != 4)
        return fputs("usage: upstream DELTAS INTERVAL_US PHRASES\n", stderr), 2;
    json = json_script();
    stream = stream_script(atoi(argv[1]), atoi(argv[3]));
    interval = atol(argv[2]);
    poller = epoll_create1(0);
    int listener = listen_on_loopback();
    for (;;) {
        struct epoll_event events[MAX_EVENTS];
        int count = epoll_wait(poller, events, MAX_EVENTS, milliseconds_to_next());
        for (int i = 0; i < count; i++) {
            struct connection *connection = events[i].data.ptr;
            if (!connection)
                accept_all(listener);
            else if (!(events[i].events & EPOLLOUT) || flush(connection))
                if (events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR))
                    read_request(connection);
        }
        advance_due();
    }
}
