/* SCSI commands: slots, their answers, and the buffers' safety.
 *
 * libiscsi's callback only notes the answer in the command's slot; Python collects them in batches. A slot is busy
 * from submission until its completion is collected, so there can never be more completions than slots. */
#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <poll.h>

#include "session.h"

static void on_answer(struct iscsi_context *iscsi, int status, void *command_data, void *private_data)
{
    struct qr_slot *slot = private_data;
    qr_session *s = slot->session;
    struct scsi_task *task = slot->task;
    qr_completion *c = &slot->completion;

    (void)iscsi;
    (void)command_data;
    if (s->closing)
        return;
    if (status == SCSI_STATUS_CANCELLED || status == SCSI_STATUS_TIMEOUT) {
        /* libiscsi has met the end of the session; the slot is answered for when the session is ended. */
        s->broken = 1;
        return;
    }
    c->status = (uint32_t)status;
    if (status == SCSI_STATUS_CHECK_CONDITION) {
        c->sense_key = (uint8_t)task->sense.key;
        c->asc_ascq = (uint16_t)task->sense.ascq;
    }
    if (task->residual_status != SCSI_RESIDUAL_NO_RESIDUAL) {
        c->residual = (uint32_t)task->residual;
        c->overflow = task->residual_status == SCSI_RESIDUAL_OVERFLOW;
    }
    slot->state = QR_ANSWERED;
    s->progressed = qr_now();
    s->answered[s->answered_count++] = (int)(slot - s->slots);
}

static void finish(qr_session *s, struct qr_slot *slot)
{
    scsi_free_scsi_task(slot->task);
    slot->task = NULL;
    slot->state = QR_DONE;
    s->done[s->done_count++] = (int)(slot - s->slots);
}

static int has_unsent(qr_session *s)
{
    return (iscsi_which_events(s->iscsi) & POLLOUT) || iscsi_out_queue_length(s->iscsi) > 0;
}

void qr_settle(qr_session *s)
{
    int kept = 0, i;

    for (i = 0; i < s->answered_count; i++) {
        struct qr_slot *slot = &s->slots[s->answered[i]];
        /* A target may refuse a write while parts of its data still wait to be sent, from this task and this buffer:
         * both must stay until nothing waits. */
        if (slot->completion.status != SCSI_STATUS_GOOD && slot->task->xfer_dir == SCSI_XFER_WRITE && has_unsent(s))
            s->answered[kept++] = s->answered[i];
        else
            finish(s, slot);
    }
    s->answered_count = kept;
}

void qr_check_deadlines(qr_session *s, int64_t now)
{
    int i;

    for (i = 0; i < QR_DEPTH; i++) {
        const struct qr_slot *slot = &s->slots[i];
        /* On a slow path a command waits for those before it: as long as answers come, nothing is overdue. */
        int64_t since = slot->submitted > s->progressed ? slot->submitted : s->progressed;
        if (slot->state == QR_RUNNING && now - since >= slot->timeout) {
            qr_end(s, QR_OVERDUE, 0);
            return;
        }
    }
}

void qr_abandon(qr_session *s)
{
    int i;

    s->answered_count = 0;
    for (i = 0; i < QR_DEPTH; i++) {
        struct qr_slot *slot = &s->slots[i];
        if (slot->state == QR_RUNNING)
            slot->completion.status = QR_STATUS_LOST;
        if (slot->state == QR_RUNNING || slot->state == QR_ANSWERED)
            finish(s, slot);
    }
}

/* Queue a command whose data, if any, is at `buffer`. 0; -EAGAIN: all slots busy; -EPIPE: the session is not ready. */
int qr_command(qr_session *s, uint64_t tag, int lun, const unsigned char *cdb, int cdb_size, int direction, void *buffer,
               uint32_t length, int timeout_ms)
{
    struct qr_slot *slot;

    if (s->phase != QR_READY)
        return -EPIPE;
    if (s->free_count == 0)
        return -EAGAIN;
    slot = &s->slots[s->free_slots[s->free_count - 1]];
    slot->task = scsi_create_task(cdb_size, (unsigned char *)cdb, direction, (int)length);
    if (slot->task == NULL)
        return -ENOMEM;
    memset(&slot->completion, 0, sizeof(slot->completion));
    slot->completion.tag = tag;
    slot->submitted = qr_now();
    slot->timeout = timeout_ms;
    slot->iov.iov_base = buffer;
    slot->iov.iov_len = length;
    if (direction == SCSI_XFER_WRITE)
        scsi_task_set_iov_out(slot->task, &slot->iov, 1);
    else if (direction == SCSI_XFER_READ)
        scsi_task_set_iov_in(slot->task, &slot->iov, 1);
    slot->state = QR_RUNNING;
    s->free_count--;
    if (iscsi_scsi_command_async(s->iscsi, lun, slot->task, on_answer, NULL, slot) != 0) {
        scsi_free_scsi_task(slot->task);
        slot->task = NULL;
        slot->state = QR_FREE;
        s->free_count++;
        return -ENOMEM;
    }
    return 0;
}

static void put_be32(unsigned char *to, uint32_t value)
{
    to[0] = (unsigned char)(value >> 24);
    to[1] = (unsigned char)(value >> 16);
    to[2] = (unsigned char)(value >> 8);
    to[3] = (unsigned char)value;
}

/* READ(16) or WRITE(16) (SBC-3, 5.15 and 5.38) of `length` bytes; `direction` is libiscsi's. */
int qr_transfer(qr_session *s, uint64_t tag, int lun, int direction, uint64_t lba, uint32_t blocks, void *buffer,
                uint32_t length, int timeout_ms)
{
    unsigned char cdb[16] = {direction == SCSI_XFER_WRITE ? 0x8a : 0x88};

    put_be32(cdb + 2, (uint32_t)(lba >> 32));
    put_be32(cdb + 6, (uint32_t)lba);
    put_be32(cdb + 10, blocks);
    return qr_command(s, tag, lun, cdb, sizeof(cdb), direction, buffer, length, timeout_ms);
}

int qr_in_flight(const qr_session *s)
{
    return QR_DEPTH - s->free_count;
}

/* Move up to `most` completions into `out` and free their slots; returns how many. */
int qr_collect(qr_session *s, qr_completion *out, int most)
{
    int count = s->done_count < most ? s->done_count : most, i;

    for (i = 0; i < count; i++) {
        struct qr_slot *slot = &s->slots[s->done[i]];
        out[i] = slot->completion;
        slot->state = QR_FREE;
        s->free_slots[s->free_count++] = s->done[i];
    }
    memmove(s->done, s->done + count, (size_t)(s->done_count - count) * sizeof(s->done[0]));
    s->done_count -= count;
    return count;
}

/* Whether all bytes are zero; stops at the first that is not. */
int qr_is_zero(const void *buffer, size_t length)
{
    const unsigned char *bytes = buffer;
    size_t head = length < 16 ? length : 16, i;

    for (i = 0; i < head; i++)
        if (bytes[i] != 0)
            return 0;
    /* Equal to itself shifted by the zero head: all zero. */
    return length <= 16 || memcmp(bytes, bytes + 16, length - 16) == 0;
}
