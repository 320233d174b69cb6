"""The iSCSI initiator: sessions with other subsystems' nodes, over libiscsi."""
