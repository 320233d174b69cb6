/* Requests that are no SCSI commands: NOP-Out, task management, logout, discovery. */
#include <stdio.h>

#include "session.h"

static void on_pong(struct iscsi_context *iscsi, int status, void *command_data, void *private_data)
{
    qr_session *s = private_data;

    (void)iscsi;
    (void)command_data;
    if (s->closing)
        return;
    if (status == SCSI_STATUS_GOOD)
        s->nops_answered++;
    else
        s->broken = 1;
}

/* Send a NOP-Out that asks for an answer (RFC 7143, 11.18); returns its number, or 0 when the session is not ready. */
uint32_t qr_ping(qr_session *s)
{
    if (s->phase != QR_READY || iscsi_nop_out_async(s->iscsi, on_pong, NULL, 0, s) != 0)
        return 0;
    return ++s->nops_sent;
}

int qr_pinged(const qr_session *s, uint32_t number)
{
    return s->nops_answered >= number;
}

static void on_reset(struct iscsi_context *iscsi, int status, void *command_data, void *private_data)
{
    qr_session *s = private_data;

    (void)iscsi;
    if (s->closing)
        return;
    if (status == SCSI_STATUS_CANCELLED || status == SCSI_STATUS_TIMEOUT) {
        s->broken = 1;
        return;
    }
    s->reset_response = status == SCSI_STATUS_GOOD && command_data != NULL ? (int)*(uint32_t *)command_data : -1;
    s->resets_answered++;
}

/* Send a LOGICAL UNIT RESET (RFC 7143, 11.5.1); returns its number, or 0 when the session is not ready. */
uint32_t qr_reset(qr_session *s, uint32_t lun)
{
    if (s->phase != QR_READY || iscsi_task_mgmt_lun_reset_async(s->iscsi, lun, on_reset, s) != 0)
        return 0;
    return ++s->resets_sent;
}

int qr_was_reset(const qr_session *s, uint32_t number)
{
    return s->resets_answered >= number;
}

int qr_reset_response(const qr_session *s)
{
    return s->reset_response;
}

static void on_logout(struct iscsi_context *iscsi, int status, void *command_data, void *private_data)
{
    qr_session *s = private_data;

    (void)iscsi;
    (void)command_data;
    if (s->closing)
        return;
    if (status == SCSI_STATUS_GOOD)
        s->phase = QR_LOGGED_OUT;
    else
        s->broken = 1;
}

/* Ask to log out; the phase tells when it is done. */
void qr_logout(qr_session *s)
{
    if (s->phase == QR_READY && iscsi_logout_async(s->iscsi, on_logout, s) != 0)
        qr_end(s, QR_LIBRARY, 0);
}

static void on_discovery(struct iscsi_context *iscsi, int status, void *command_data, void *private_data)
{
    qr_session *s = private_data;
    const struct iscsi_discovery_address *node;
    const struct iscsi_target_portal *portal;
    size_t size = 0;
    FILE *out;

    (void)iscsi;
    if (s->closing)
        return;
    out = status == SCSI_STATUS_GOOD ? open_memstream(&s->discovered, &size) : NULL;
    if (out == NULL) {
        s->broken = 1;
        return;
    }
    for (node = command_data; node != NULL; node = node->next) {
        fprintf(out, "%s\n", node->target_name);
        for (portal = node->portals; portal != NULL; portal = portal->next)
            fprintf(out, "\t%s\n", portal->portal);
    }
    fclose(out);
}

/* Ask for the nodes (SendTargets=All); the answer appears in qr_discovered. */
void qr_discover(qr_session *s)
{
    if (s->phase == QR_READY && iscsi_discovery_async(s->iscsi, on_discovery, s) != 0)
        qr_end(s, QR_LIBRARY, 0);
}

const char *qr_discovered(const qr_session *s)
{
    return s->discovered;
}
