/* What the parts of the libiscsi shim share. One thread at a time may use a session. */
#ifndef QR_SESSION_H
#define QR_SESSION_H

#include <stddef.h>
#include <stdint.h>
#include <iscsi/iscsi.h>
#include <iscsi/scsi-lowlevel.h>

/* Commands a session holds at once; below the 128 that tgtd admits, so that a NOP-Out still finds a place. */
#define QR_DEPTH 112
#define QR_TEXT 256

/* A status beyond SCSI's: the session ended before the target answered. */
#define QR_STATUS_LOST 0x0e000000u

enum qr_phase { QR_CONNECTING, QR_LOGGING_IN, QR_READY, QR_LOGGED_OUT, QR_ENDED };

/* Why a session ended, or never began. `detail` of the session holds an errno or a login status. */
enum qr_ending {
    QR_NOT_ENDED,
    QR_SOCKET_ERROR,    /* detail: errno */
    QR_CLOSED_BY_PEER,
    QR_NOT_ISCSI,       /* the bytes received are no login response */
    QR_REFUSED,         /* detail: login status class and detail, RFC 7143, 11.13.5 */
    QR_UNPROVEN,        /* the target did not prove that it knows the mutual CHAP secret */
    QR_SILENT,          /* the keep-alive went unanswered */
    QR_OVERDUE,         /* a command went unanswered */
    QR_NOT_BOUND,       /* the socket could not be tied to the interface; detail: errno */
    QR_LIBRARY,         /* libiscsi gave up; `text` says why */
    QR_CLOSED           /* by us */
};

typedef struct {
    uint64_t tag;
    uint32_t status;        /* SAM-5 status, SCSI_STATUS_ERROR, or QR_STATUS_LOST */
    uint32_t residual;      /* bytes asked for and not transferred (underflow), or too many (overflow) */
    uint16_t asc_ascq;
    uint8_t sense_key;
    uint8_t overflow;
} qr_completion;

struct qr_session;

enum qr_slot_state { QR_FREE, QR_RUNNING, QR_ANSWERED, QR_DONE };

struct qr_slot {
    struct qr_session *session;
    struct scsi_task *task;
    struct scsi_iovec iov;
    int64_t submitted;
    int timeout;
    enum qr_slot_state state;
    qr_completion completion;
};

typedef struct qr_session {
    struct iscsi_context *iscsi;
    enum qr_phase phase;
    enum qr_ending ending;
    int detail;
    char text[QR_TEXT];         /* libiscsi's last words within the present call */

    int mutual, challenged, proven;
    int header_digest;

    int broken, closing;
    int64_t heard, ticked;      /* monotonic ms: last bytes from the target; last keep-alive decision */
    int64_t progressed;         /* monotonic ms: last answer to a command */
    int interval, misses, missed;
    uint32_t nops_sent, nops_answered;
    uint32_t resets_sent, resets_answered;
    int reset_response;         /* RFC 7143, 11.6.1; -1: none that libiscsi understood */

    char *discovered;           /* lines: a node's name, then its portals each after a tab */

    struct qr_slot slots[QR_DEPTH];
    int free_slots[QR_DEPTH], free_count;
    int answered[QR_DEPTH], answered_count;
    int done[QR_DEPTH], done_count;
} qr_session;

/* Shared inside. */
int64_t qr_now(void);
void qr_end(qr_session *s, enum qr_ending ending, int detail);
/* Look at what has arrived before libiscsi does. 1: it may read; 0: more must come; -1: the session has ended. */
int qr_admit_login_reply(qr_session *s);
void qr_settle(qr_session *s);
void qr_check_deadlines(qr_session *s, int64_t now);
void qr_abandon(qr_session *s);

/* For Python: a session's life (session.c). */
qr_session *qr_new(const char *initiator_name);
void qr_free(qr_session *s);
void qr_set_isid(qr_session *s, uint32_t random, uint32_t qualifier);
void qr_start(qr_session *s, const char *portal, const char *iqn, const char *user, const char *secret,
              const char *mutual_user, const char *mutual_secret, const char *interface, int header_digest,
              int interval_ms, int misses);
void qr_step(qr_session *s, int timeout_ms);
int qr_phase(const qr_session *s);
int qr_ending(const qr_session *s);
int qr_detail(const qr_session *s);
const char *qr_text(const qr_session *s);
int qr_header_digest(const qr_session *s);

/* For Python: requests that are no SCSI commands (requests.c). */
uint32_t qr_ping(qr_session *s);
int qr_pinged(const qr_session *s, uint32_t number);
uint32_t qr_reset(qr_session *s, uint32_t lun);
int qr_was_reset(const qr_session *s, uint32_t number);
int qr_reset_response(const qr_session *s);
void qr_logout(qr_session *s);
void qr_discover(qr_session *s);
const char *qr_discovered(const qr_session *s);

/* For Python: commands (commands.c). */
int qr_command(qr_session *s, uint64_t tag, int lun, const unsigned char *cdb, int cdb_size, int direction,
               void *buffer, uint32_t length, int timeout_ms);
int qr_transfer(qr_session *s, uint64_t tag, int lun, int direction, uint64_t lba, uint32_t blocks, void *buffer,
                uint32_t length, int timeout_ms);
int qr_in_flight(const qr_session *s);
int qr_collect(qr_session *s, qr_completion *out, int most);
int qr_is_zero(const void *buffer, size_t length);

#endif
