/* The least that a Modbus client can cost: libmodbus, one connection, 125 registers a request.
 *
 * modbus_floor server            prints its port and serves until it is killed
 * modbus_floor client PORT SECS  after a second of warming up reads for SECS seconds, then prints
 *                                requests, seconds and processor time as JSON */

#include <modbus/modbus.h>
#include <errno.h>
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { QUANTITY = 125, BLOCKS = 80, REGISTERS = 65536 };

static int fail(const char *what)
{
    fprintf(stderr, "%s: %s\n", what, modbus_strerror(errno));
    return 1;
}

static int serve(void)
{
    modbus_t *server = modbus_new_tcp("127.0.0.1", 0);
    modbus_mapping_t *map = modbus_mapping_new(0, 0, REGISTERS, 0);
    if (server == NULL || map == NULL) return fail("no memory");
    for (int i = 0; i < REGISTERS; i++) map->tab_registers[i] = (uint16_t)(i * 7);
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t size = sizeof address;
    if (bind(listener, (struct sockaddr *)&address, size) || listen(listener, 4)
        || getsockname(listener, (struct sockaddr *)&address, &size))
        return fail("listen");
    printf("%d\n", ntohs(address.sin_port));
    fflush(stdout);
    while (modbus_tcp_accept(server, &listener) >= 0) {
        uint8_t query[MODBUS_TCP_MAX_ADU_LENGTH];
        int length;
        while ((length = modbus_receive(server, query)) >= 0) {
            if (length > 0 && modbus_reply(server, query, length, map) < 0) break;
        }
        close(modbus_get_socket(server));
    }
    return fail("accept");
}

static double seconds_of(struct timeval t) { return (double)t.tv_sec + (double)t.tv_usec / 1e6; }

static double wall(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static double processor(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return seconds_of(usage.ru_utime) + seconds_of(usage.ru_stime);
}

/* Reads for some seconds; gives the number of requests, or -1. */
static long read_for(modbus_t *client, double duration, unsigned long *sum)
{
    uint16_t registers[QUANTITY];
    double until = wall() + duration;
    long requests = 0;
    while (wall() < until) {
        int start = (int)(requests % BLOCKS) * QUANTITY;
        if (modbus_read_registers(client, start, QUANTITY, registers) != QUANTITY) return -1;
        for (int i = 0; i < QUANTITY; i++) *sum += registers[i];
        requests++;
    }
    return requests;
}

static int drive(int port, double duration)
{
    modbus_t *client = modbus_new_tcp("127.0.0.1", port);
    unsigned long sum = 0;
    if (client == NULL || modbus_connect(client)) return fail("connect");
    if (read_for(client, 1.0, &sum) < 0) return fail("read");
    double begun = wall(), used = processor();
    long requests = read_for(client, duration, &sum);
    if (requests < 0) return fail("read");
    printf("{\"requests\":%ld,\"seconds\":%.6f,\"cpu_seconds\":%.6f,\"sum\":%lu}\n",
           requests, wall() - begun, processor() - used, sum);
    return 0;
}

int main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "server") == 0) return serve();
    if (argc == 4 && strcmp(argv[1], "client") == 0) return drive(atoi(argv[2]), atof(argv[3]));
    fprintf(stderr, "usage: modbus_floor server | client PORT SECONDS\n");
    return 2;
}
