/* A session's life: connect, login, the poll loop with its keep-alive, logout, the end.
 *
 * libiscsi is never let to reconnect: an ended session stays ended, since a command sent again after a reconnect
 * could write after another controller took over. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#include "session.h"

enum { LONGEST_WAIT = 500 };

/* libiscsi's log function gets no context; the session being served by this thread is it. */
static __thread qr_session *listening;

static void on_log(int level, const char *message)
{
    (void)level;
    if (listening != NULL)
        snprintf(listening->text, QR_TEXT, "%s", message);
}

static void listen_to_library(qr_session *s)
{
    listening = s;
    if (s != NULL)
        s->text[0] = 0;
}

int64_t qr_now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

void qr_end(qr_session *s, enum qr_ending ending, int detail)
{
    int said_goodbye = s->phase == QR_LOGGED_OUT;

    if (s->phase == QR_ENDED)
        return;
    s->phase = QR_ENDED;
    s->ending = ending;
    s->detail = detail;
    s->closing = 1;
    listening = NULL;
    if (!said_goodbye && iscsi_get_fd(s->iscsi) >= 0) {
        /* What the kernel has not sent yet must never arrive: it could write after another controller took over. */
        struct linger at_once = {1, 0};
        setsockopt(iscsi_get_fd(s->iscsi), SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
    }
    iscsi_destroy_context(s->iscsi);
    s->iscsi = NULL;
    qr_abandon(s);
}

qr_session *qr_new(const char *initiator_name)
{
    qr_session *s = calloc(1, sizeof(*s));
    int i;

    if (s == NULL)
        return NULL;
    s->iscsi = iscsi_create_context(initiator_name);
    if (s->iscsi == NULL) {
        free(s);
        return NULL;
    }
    for (i = 0; i < QR_DEPTH; i++) {
        s->slots[i].session = s;
        s->free_slots[i] = i;
    }
    s->free_count = QR_DEPTH;
    iscsi_set_noautoreconnect(s->iscsi, 1);
    iscsi_set_reconnect_max_retries(s->iscsi, 0);
    iscsi_set_timeout(s->iscsi, 0);
    iscsi_set_immediate_data(s->iscsi, ISCSI_IMMEDIATE_DATA_YES);
    iscsi_set_initial_r2t(s->iscsi, ISCSI_INITIAL_R2T_NO);
    iscsi_set_log_fn(s->iscsi, on_log);
    iscsi_set_log_level(s->iscsi, 1);
    return s;
}

void qr_free(qr_session *s)
{
    if (s == NULL)
        return;
    qr_end(s, QR_CLOSED, 0);
    free(s->discovered);
    free(s);
}

/* Use this ISID (RFC 7143, 11.12.5: format 10b, 24 bits “random”, 16 bits qualifier) in place of one of chance. */
void qr_set_isid(qr_session *s, uint32_t random, uint32_t qualifier)
{
    iscsi_set_isid_random(s->iscsi, random, qualifier);
}

static void on_login(struct iscsi_context *iscsi, int status, void *command_data, void *private_data)
{
    qr_session *s = private_data;

    (void)iscsi;
    (void)command_data;
    if (s->closing)
        return;
    if (status != SCSI_STATUS_GOOD)
        s->broken = 1;
    else {
        s->phase = QR_READY;
        s->heard = s->ticked = qr_now();
    }
}

static void on_connect(struct iscsi_context *iscsi, int status, void *command_data, void *private_data)
{
    qr_session *s = private_data;

    (void)command_data;
    if (s->closing)
        return;
    if (status != SCSI_STATUS_GOOD || iscsi_login_async(iscsi, on_login, s) != 0)
        s->broken = 1;
    else
        s->phase = QR_LOGGING_IN;
}

/* Begin to connect and log in; NULL as `iqn` makes it a discovery session. Goes on in qr_step. */
void qr_start(qr_session *s, const char *portal, const char *iqn, const char *user, const char *secret, const char *mutual_user,
              const char *mutual_secret, const char *interface, int header_digest, int interval_ms, int misses)
{
    int fd;

    s->interval = interval_ms;
    s->misses = misses;
    s->mutual = mutual_user != NULL;
    if (iqn != NULL)
        iscsi_set_targetname(s->iscsi, iqn);
    iscsi_set_session_type(s->iscsi, iqn != NULL ? ISCSI_SESSION_NORMAL : ISCSI_SESSION_DISCOVERY);
    iscsi_set_header_digest(s->iscsi, header_digest ? ISCSI_HEADER_DIGEST_CRC32C_NONE : ISCSI_HEADER_DIGEST_NONE);
    if (user != NULL)
        iscsi_set_initiator_username_pwd(s->iscsi, user, secret);
    if (mutual_user != NULL)
        iscsi_set_target_username_pwd(s->iscsi, mutual_user, mutual_secret);
    if (interface != NULL)
        iscsi_set_bind_interfaces(s->iscsi, (char *)interface);
    iscsi_set_tcp_user_timeout(s->iscsi, interval_ms * misses);
    listen_to_library(s);
    if (iscsi_connect_async(s->iscsi, portal, on_connect, s) != 0) {
        qr_end(s, QR_LIBRARY, 0);
        return;
    }
    listening = NULL;
    fd = iscsi_get_fd(s->iscsi);
    fcntl(fd, F_SETFD, FD_CLOEXEC);
    if (interface != NULL) {
        /* libiscsi only logs it when binding fails, and goes on by any route. */
        char bound[64] = "";
        socklen_t size = sizeof(bound);
        if (getsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, bound, &size) != 0 || strcmp(bound, interface) != 0)
            qr_end(s, QR_NOT_BOUND, 0);
    }
}

static void cork(qr_session *s, int on)
{
    setsockopt(iscsi_get_fd(s->iscsi), IPPROTO_TCP, TCP_CORK, &on, sizeof(on));
}

static void serve(qr_session *s, int events)
{
    int failed, sends = s->phase == QR_READY && events & POLLOUT;

    if (events & (POLLERR | POLLHUP) || (s->phase == QR_CONNECTING && events & POLLOUT)) {
        int error = 0;
        socklen_t size = sizeof(error);
        getsockopt(iscsi_get_fd(s->iscsi), SOL_SOCKET, SO_ERROR, &error, &size);
        if (error != 0 || events & (POLLERR | POLLHUP)) {
            qr_end(s, error ? QR_SOCKET_ERROR : QR_CLOSED_BY_PEER, error);
            return;
        }
    }
    if (events & POLLIN) {
        s->heard = qr_now();
        s->missed = 0;
        if (s->phase == QR_LOGGING_IN) {
            int admitted = qr_admit_login_reply(s);
            if (admitted < 0)
                return;
            if (admitted == 0) {
                /* The rest of the reply is on its way: do not spin on what has arrived. */
                struct timespec pause = {0, 2000000};
                nanosleep(&pause, NULL);
                return;
            }
        }
    }
    listen_to_library(s);
    /* libiscsi sends a header and its data apart, each at once: the cork joins them, which halves the packets. */
    if (sends)
        cork(s, 1);
    failed = iscsi_service(s->iscsi, events) != 0 || s->broken;
    if (sends)
        cork(s, 0);
    listening = NULL;
    qr_settle(s);
    if (failed)
        qr_end(s, s->text[0] ? QR_LIBRARY : QR_CLOSED_BY_PEER, 0);
    else if (s->phase == QR_READY && s->mutual && !s->proven)
        qr_end(s, QR_UNPROVEN, 0);
}

/* After an interval of silence ask for a sign of life; after `misses` intervals of it in a row the path is dead. */
static void keep_alive(qr_session *s, int64_t now)
{
    int64_t since = s->heard > s->ticked ? s->heard : s->ticked;

    if (now - since < s->interval)
        return;
    s->ticked = now;
    if (s->missed + 1 >= s->misses && s->missed > 0)
        qr_end(s, QR_SILENT, 0);
    else if (++s->missed && qr_ping(s) == 0)
        qr_end(s, QR_LIBRARY, 0);
}

/* Serve the session until something is to be collected, its phase changes, a ping or reset is answered, a signal arrives, or
 * the time is over. */
void qr_step(qr_session *s, int timeout_ms)
{
    int64_t now = qr_now(), end = now + timeout_ms;
    enum qr_phase phase = s->phase;
    uint32_t answered = s->nops_answered, resets = s->resets_answered;
    char *discovered = s->discovered;

    while (s->phase != QR_ENDED) {
        struct pollfd p = {iscsi_get_fd(s->iscsi), (short)iscsi_which_events(s->iscsi), 0};
        int64_t wait = end - now;
        int ready;

        if (wait > LONGEST_WAIT)
            wait = LONGEST_WAIT;
        ready = poll(&p, 1, s->done_count > 0 || wait < 0 ? 0 : (int)wait);
        if (ready < 0)
            return;
        if (ready > 0)
            serve(s, p.revents);
        now = qr_now();
        if (s->phase == QR_READY) {
            keep_alive(s, now);
            if (s->phase == QR_READY && ready == 0)
                qr_check_deadlines(s, now);
        }
        if (s->done_count > 0 || s->phase != phase || s->nops_answered != answered || s->resets_answered != resets ||
            s->discovered != discovered || now >= end)
            return;
    }
}

int qr_phase(const qr_session *s)
{
    return (int)s->phase;
}

int qr_ending(const qr_session *s)
{
    return (int)s->ending;
}

int qr_detail(const qr_session *s)
{
    return s->detail;
}

const char *qr_text(const qr_session *s)
{
    return s->text;
}

int qr_header_digest(const qr_session *s)
{
    return s->header_digest;
}
