/*
 * Clients for benchmarks: one thread, epoll, loopback. Each connection sends its request again as soon as the
 * response is whole. Every response is checked against the digest of the upstream's body.
 *
 *     load -p PORT -P PATH -b BODY_FILE -e LENGTH:HASH -c CONNECTIONS (-n REQUESTS | -d SECONDS) [-r RAMP] [-t LIMIT]
 *         [-w STALL]
 *
 * -r spreads the first requests over RAMP seconds. With -w nothing is read before STALL seconds are over. Requests that are open after LIMIT seconds count as failed. Prints
 * {"open": N} once every connection has received the first bytes of a response, and the figures at the end.
 */
#define _GNU_SOURCE
#include "response.h"

#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

enum { MAX_EVENTS = 512, READ_SIZE = 262144 };

struct options {
    int port, connections;
    long requests;
    double seconds, ramp, limit, stall;
    const char *path, *body_file;
    struct digest expected;
};

struct connection {
    int fd; /* -1: not connected */
    size_t sent;
    bool responded; /* has received the first bytes of a response */
    int64_t started, first_byte;
    struct response response;
};

struct samples {
    int *values;
    size_t count, capacity;
};

static struct options options = {.path = "/", .seconds = 1e9, .requests = 1L << 60, .limit = 1e9};
static char *request;
static size_t request_length;
static int poller;
static int64_t began;
static long begun, whole, failed, exact, busy, responded;
static uint64_t event_count;
static struct samples latencies, first_bytes;
static char first_failure[256];

static double elapsed(void)
{
    return (now_us() - began) / 1e6;
}

static void sample(struct samples *samples, int64_t value)
{
    if (samples->count == samples->capacity) {
        samples->capacity = samples->capacity ? 2 * samples->capacity : 65536;
        samples->values = realloc(samples->values, samples->capacity * sizeof *samples->values);
        if (!samples->values)
            fail("realloc");
    }
    samples->values[samples->count++] = (int)value;
}

static int by_value(const void *left, const void *right)
{
    int a = *(const int *)left, b = *(const int *)right;
    return (a > b) - (a < b);
}

static int percentile(struct samples *samples, double share)
{
    if (!samples->count)
        return 0;
    qsort(samples->values, samples->count, sizeof *samples->values, by_value);
    return samples->values[(size_t)(share * (samples->count - 1))];
}

static void watch(struct connection *connection, int operation, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.ptr = connection};
    epoll_ctl(poller, operation, connection->fd, &event);
}

static void hang_up(struct connection *connection)
{
    if (connection->fd >= 0)
        close(connection->fd);
    connection->fd = -1;
}

static void open_socket(struct connection *connection)
{
    struct sockaddr_in server = {.sin_family = AF_INET, .sin_port = htons(options.port)};
    server.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int on = 1;
    connection->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (connection->fd < 0)
        fail("socket");
    setsockopt(connection->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    connect(connection->fd, (struct sockaddr *)&server, sizeof server); /* a failure shows at the first write */
    watch(connection, EPOLL_CTL_ADD, EPOLLOUT);
}

/* Counts a failure and uses the connection no more, so that a broken proxy causes no busy loop. */
static void give_up(struct connection *connection, const char *why)
{
    failed++;
    busy--;
    if (!first_failure[0])
        snprintf(first_failure, sizeof first_failure, "%s (status %d, %" PRIu64 " bytes of body)", why,
                 connection->response.status, connection->response.body.length);
    hang_up(connection);
}

static void write_request(struct connection *connection)
{
    size_t left = request_length - connection->sent;
    ssize_t count = send(connection->fd, request + connection->sent, left, MSG_NOSIGNAL);
    if (count < 0 && errno != EAGAIN)
        return give_up(connection, strerror(errno));
    connection->sent += count > 0 ? count : 0;
    uint32_t wanted = elapsed() < options.stall ? 0 : EPOLLIN;
    watch(connection, EPOLL_CTL_MOD, connection->sent < request_length ? EPOLLOUT : wanted);
}

static void begin(struct connection *connection)
{
    begun++;
    connection->sent = 0;
    connection->first_byte = 0;
    connection->started = now_us();
    response_reset(&connection->response);
    if (connection->fd < 0)
        open_socket(connection);
    else
        write_request(connection);
}

static void finish(struct connection *connection)
{
    struct response *response = &connection->response;
    if (response->status != 200)
        return give_up(connection, "refused");
    whole++;
    exact += response->body.hash == options.expected.hash && response->body.length == options.expected.length;
    event_count += response->events;
    sample(&latencies, now_us() - connection->started);
    sample(&first_bytes, connection->first_byte - connection->started);
    if (response->closes)
        hang_up(connection);
    if (begun < options.requests && elapsed() < options.seconds) {
        begin(connection);
    } else {
        hang_up(connection);
        busy--;
    }
}

static void note_first_byte(struct connection *connection)
{
    connection->first_byte = now_us();
    responded += !connection->responded;
    if (!connection->responded && responded == options.connections) {
        printf("{\"open\": %ld}\n", responded);
        fflush(stdout);
    }
    connection->responded = true;
}

static void read_response(struct connection *connection)
{
    static char bytes[READ_SIZE];
    ssize_t count = recv(connection->fd, bytes, sizeof bytes, 0);
    if (count < 0 && errno == EAGAIN)
        return;
    if (count <= 0)
        return give_up(connection, count ? strerror(errno) : "closed before its end");
    enum response_state state = response_feed(&connection->response, bytes, count);
    if (!connection->first_byte && connection->response.body.length)
        note_first_byte(connection);
    if (state == RESPONSE_WHOLE)
        finish(connection);
    else if (state == RESPONSE_BROKEN)
        give_up(connection, "not a response");
}

static char *read_file(const char *name, size_t *length)
{
    FILE *file = fopen(name, "r");
    if (!file || fseek(file, 0, SEEK_END))
        fail(name);
    *length = ftell(file);
    rewind(file);
    char *bytes = malloc(*length);
    if (!bytes || fread(bytes, 1, *length, file) != *length)
        fail(name);
    fclose(file);
    return bytes;
}

static void prepare_request(void)
{
    size_t body_length;
    char *body = read_file(options.body_file, &body_length);
    request = malloc(body_length + 1024);
    request_length = sprintf(request,
                             "POST %.500s HTTP/1.1\r\nhost: 127.0.0.1:%d\r\nuser-agent: claude-cli/2.0.0 (external, cli)\r\n"
                             "content-type: application/json\r\nx-api-key: sk-ant-benchmark-0000000000\r\n"
                             "anthropic-version: 2023-06-01\r\naccept: */*\r\ncontent-length: %zu\r\n\r\n",
                             options.path, options.port, body_length);
    memcpy(request + request_length, body, body_length);
    request_length += body_length;
    free(body);
}

static void parse_options(int argc, char **argv)
{
    for (int option; (option = getopt(argc, argv, "p:P:b:e:c:n:d:r:t:w:")) != -1;)
        switch (option) {
        case 'p': options.port = atoi(optarg); break;
        case 'P': options.path = optarg; break;
        case 'b': options.body_file = optarg; break;
        case 'e': sscanf(optarg, "%" SCNu64 ":%" SCNx64, &options.expected.length, &options.expected.hash); break;
        case 'c': options.connections = atoi(optarg); break;
        case 'n': options.requests = atol(optarg); break;
        case 'd': options.seconds = atof(optarg); break;
        case 'r': options.ramp = atof(optarg); break;
        case 't': options.limit = atof(optarg); break;
        case 'w': options.stall = atof(optarg); break;
        default: exit(2);
        }
    if (!options.body_file || options.connections < 1)
        fputs("load: -b and -c are needed\n", stderr), exit(2);
}

/* Returns how many connections should have started by now. */
static int wanted(void)
{
    double share = options.ramp > 0 ? elapsed() / options.ramp : 1;
    return share < 1 ? (int)(share * options.connections) : options.connections;
}

static void poll_once(bool ramping)
{
    struct epoll_event events[MAX_EVENTS];
    int count = epoll_wait(poller, events, MAX_EVENTS, ramping ? 1 : 100);
    for (int i = 0; i < count; i++) {
        struct connection *connection = events[i].data.ptr;
        if (connection->sent < request_length)
            write_request(connection);
        else
            read_response(connection);
    }
}

static void run(struct connection *connections)
{
    int opened = 0;
    bool stalled = options.stall > 0;
    busy = options.connections;
    while (busy > 0 && elapsed() < options.limit) {
        for (int target = wanted(); opened < target; opened++) {
            connections[opened].fd = -1;
            begin(&connections[opened]);
        }
        if (stalled && elapsed() >= options.stall) {
            stalled = false;
            for (int i = 0; i < opened; i++)
                if (connections[i].fd >= 0 && connections[i].sent == request_length)
                    watch(&connections[i], EPOLL_CTL_MOD, EPOLLIN);
        }
        poll_once(opened < options.connections);
    }
    failed += busy;
    if (busy && !first_failure[0])
        strcpy(first_failure, "still open at the time limit");
}

static void report(double seconds)
{
    printf("{\"whole\": %ld, \"failed\": %ld, \"exact\": %ld, \"seconds\": %.4f, \"requests_per_second\": %.2f, "
           "\"events\": %" PRIu64 ", \"events_per_second\": %.1f, \"latency_p50_us\": %d, \"latency_p99_us\": %d, "
           "\"first_byte_p50_us\": %d, \"first_byte_p99_us\": %d, \"first_failure\": \"%s\"}\n",
           whole, failed, exact, seconds, whole / seconds, event_count, event_count / seconds,
           percentile(&latencies, 0.5), percentile(&latencies, 0.99), percentile(&first_bytes, 0.5),
           percentile(&first_bytes, 0.99), first_failure);
}

int main(int argc, char **argv)
{
    parse_options(argc, argv);
    prepare_request();
    poller = epoll_create1(0);
    struct connection *connections = calloc(options.connections, sizeof *connections);
    if (!connections)
        fail("calloc");
    began = now_us();
    run(connections);
    report(elapsed());
}
